"""The status page: what it shows, in words, pictures and numbers. From values alone; it asks nobody."""
