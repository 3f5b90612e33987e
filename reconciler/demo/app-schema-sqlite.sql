-- The app's tracks table as found in production-like installs, in SQLite's types. The reconciler owns none of it.
CREATE TABLE tracks (
    id                     TEXT PRIMARY KEY,
    task_id                TEXT UNIQUE,
    user_id                TEXT,
    title                  TEXT NOT NULL,
    prompt                 TEXT NOT NULL,
    audio_url              TEXT,
    image_url              TEXT,
    mood                   TEXT,
    likes                  INTEGER DEFAULT 0,
    duration               NUMERIC DEFAULT 600,
    created_at             TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')),
    status                 TEXT DEFAULT 'pending',
    updated_at             TEXT DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    extended_prompt        TEXT,
    image_inspiration      TEXT,
    dreamify               INTEGER DEFAULT 0,
    resolution             TEXT,
    vibe                   TEXT,
    summary                TEXT,
    extended_prompt_image  TEXT
);
CREATE INDEX idx_tracks_task_id      ON tracks (task_id);
CREATE INDEX idx_tracks_created_at   ON tracks (created_at);
CREATE INDEX idx_tracks_status       ON tracks (status);
CREATE INDEX idx_tracks_user_id      ON tracks (user_id);
CREATE INDEX idx_tracks_image_url    ON tracks (image_url);
CREATE INDEX idx_tracks_status_image ON tracks (status, image_url) WHERE status <> 'archived';
