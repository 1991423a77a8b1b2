-- What version 1 of the schema looked like: files of it exist.
CREATE TABLE streams (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	path TEXT NOT NULL, 
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
	UNIQUE (path)
);
CREATE INDEX streams_ttl ON streams (touched_at) WHERE ttl_seconds IS NOT NULL;
CREATE INDEX streams_expires_at ON streams (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX streams_owner ON streams (owner) WHERE owner IS NOT NULL;
CREATE TABLE nodes (
	node_id TEXT NOT NULL, 
	expires_at FLOAT NOT NULL, 
	PRIMARY KEY (node_id)
);
CREATE TABLE chunks (
	id INTEGER NOT NULL, 
	stream_id INTEGER NOT NULL, 
	end_offset BIGINT NOT NULL, 
	data BLOB NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(stream_id) REFERENCES streams (id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX chunks_stream_offset ON chunks (stream_id, end_offset);
CREATE TABLE producers (
	stream_id INTEGER NOT NULL, 
	producer_id TEXT NOT NULL, 
	epoch BIGINT NOT NULL, 
	seq BIGINT NOT NULL, 
	PRIMARY KEY (stream_id, producer_id), 
	FOREIGN KEY(stream_id) REFERENCES streams (id) ON DELETE CASCADE
)
 WITHOUT ROWID

;
PRAGMA application_id = 1146311762;
PRAGMA user_version = 1;
