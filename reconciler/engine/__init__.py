"""Work: find a track, lease it, plan, act, learn, commit; again and again."""
