"""The history of the tables in Postgres: what stands here has been run somewhere, so add only.

Each runs in one transaction, with ``search_path`` at our schema.
"""

_FIRST = """
CREATE SCHEMA durable_streams;

CREATE TABLE nodes (
    node_id TEXT NOT NULL,
    expires_at FLOAT NOT NULL,
    PRIMARY KEY (node_id)
);

CREATE TABLE secrets (
    id TEXT NOT NULL,
    purpose TEXT NOT NULL,
    value BYTEA NOT NULL,
    created_at FLOAT NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE streams (
    id BIGSERIAL NOT NULL,
    path TEXT COLLATE "C" NOT NULL,
    content_type TEXT NOT NULL,
    tail BIGINT NOT NULL,
    closed BOOLEAN NOT NULL,
    created_at FLOAT NOT NULL,
    owner TEXT,
    ttl_seconds BIGINT,
    expires_at FLOAT,
    touched_at FLOAT NOT NULL,
    seq TEXT,
    closed_by TEXT,
    forked_from TEXT,
    fork_position BIGINT NOT NULL,
    forks INTEGER NOT NULL,
    deleted BOOLEAN NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (path)
)
 WITH (fillfactor = 50);

CREATE INDEX streams_owner ON streams (owner) WHERE owner IS NOT NULL;

CREATE INDEX streams_forked_from ON streams (forked_from) WHERE forked_from IS NOT NULL;

CREATE INDEX streams_expires_at ON streams (expires_at) WHERE expires_at IS NOT NULL;

CREATE INDEX streams_sliding ON streams (id) WHERE ttl_seconds IS NOT NULL;

CREATE TABLE subscriptions (
    id TEXT NOT NULL,
    incarnation TEXT NOT NULL,
    type TEXT NOT NULL,
    pattern TEXT,
    webhook_url TEXT,
    wake_stream TEXT,
    lease_ttl_ms INTEGER NOT NULL,
    description TEXT,
    config_hash TEXT NOT NULL,
    root_url TEXT NOT NULL,
    created_at FLOAT NOT NULL,
    generation BIGINT NOT NULL,
    wake_id TEXT,
    holder TEXT,
    lease_until FLOAT,
    next_attempt_at FLOAT,
    deliverer TEXT,
    retries INTEGER NOT NULL,
    failure TEXT,
    PRIMARY KEY (id)
);

CREATE TABLE schema_version (
    version INTEGER NOT NULL
);

CREATE TABLE producers (
    stream_id BIGINT NOT NULL,
    producer_id TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    PRIMARY KEY (stream_id, producer_id),
    FOREIGN KEY(stream_id) REFERENCES streams (id) ON DELETE CASCADE
);

CREATE TABLE subscription_links (
    subscription_id TEXT NOT NULL,
    path TEXT NOT NULL,
    explicit BOOLEAN NOT NULL,
    stream_id BIGINT,
    acked BIGINT NOT NULL,
    PRIMARY KEY (subscription_id, path),
    FOREIGN KEY(subscription_id) REFERENCES subscriptions (id) ON DELETE CASCADE
);

CREATE INDEX subscription_links_path ON subscription_links (path);

CREATE TABLE chunks (
    stream_id BIGINT NOT NULL,
    end_offset BIGINT NOT NULL,
    data BYTEA NOT NULL,
    PRIMARY KEY (stream_id, end_offset),
    FOREIGN KEY(stream_id) REFERENCES streams (id) ON DELETE CASCADE
);

INSERT INTO schema_version (version) VALUES (0)
"""

_RETENTION = """
ALTER TABLE streams
    ADD COLUMN start BIGINT DEFAULT '0' NOT NULL,
    ADD COLUMN retain_bytes BIGINT,
    ADD COLUMN retain_seconds BIGINT;

ALTER TABLE chunks DROP CONSTRAINT chunks_stream_id_fkey;

ALTER TABLE chunks ADD COLUMN written_at BIGINT;

UPDATE chunks SET written_at = extract(epoch FROM now());

ALTER TABLE chunks ALTER COLUMN written_at SET NOT NULL;

CREATE TABLE garbage (
    stream_id BIGINT NOT NULL,
    below BIGINT NOT NULL,
    PRIMARY KEY (stream_id)
)
"""

MIGRATIONS: tuple[str, ...] = (_FIRST, _RETENTION)
"""The first one makes the tables of an empty database; the position of the last is the version."""
