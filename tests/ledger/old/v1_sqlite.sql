-- The ledger of schema version 1, as meterfeed 0.1 wrote it on this database. Never to be changed.
CREATE TABLE history (
    seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    chunk_seq BIGINT NOT NULL,
    from_state TEXT NOT NULL,
    to_state TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    fence BIGINT NOT NULL
)
;;
CREATE INDEX ix_history_chunk_seq ON history (chunk_seq)
;;
CREATE TABLE holding (
    kind TEXT NOT NULL,
    bucket INTEGER NOT NULL,
    n INTEGER NOT NULL,
    page BLOB NOT NULL,
    PRIMARY KEY (kind, bucket)
)
;;
CREATE TABLE legal_move (
    from_state TEXT NOT NULL,
    to_state TEXT NOT NULL,
    PRIMARY KEY (from_state, to_state)
)
;;
CREATE TABLE meta (
    "key" TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY ("key")
)
;;
CREATE TABLE run (
    run_seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    run_id TEXT NOT NULL,
    command TEXT NOT NULL,
    environment TEXT NOT NULL,
    profiles TEXT NOT NULL,
    job_digest TEXT NOT NULL,
    state TEXT NOT NULL,
    plan_digest TEXT,
    "plan" TEXT,
    approved TEXT,
    spool TEXT,
    fence BIGINT NOT NULL,
    started_at FLOAT NOT NULL,
    ended_at FLOAT,
    exit_code INTEGER,
    summary TEXT,
    UNIQUE (run_id)
)
;;
CREATE INDEX ix_run_job_digest ON run (job_digest)
;;
CREATE TABLE chunk (
    chunk_seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    chunk_id TEXT NOT NULL,
    run_seq INTEGER NOT NULL,
    phase TEXT NOT NULL,
    lane INTEGER NOT NULL,
    cursor_from BIGINT NOT NULL,
    cursor_to BIGINT NOT NULL,
    parent_seq BIGINT,
    n INTEGER NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    message TEXT,
    attempt INTEGER NOT NULL,
    attempt_ended_at FLOAT,
    absorbed INTEGER NOT NULL,
    manifest BLOB NOT NULL,
    fence BIGINT NOT NULL,
    FOREIGN KEY(run_seq) REFERENCES run (run_seq)
)
;;
CREATE INDEX chunk_by_run ON chunk (run_seq, phase, state)
;;
CREATE INDEX chunk_unfinished ON chunk (state) WHERE state in ('planned','in_flight','in_doubt','blocked')
;;
CREATE INDEX ix_chunk_chunk_id ON chunk (chunk_id)
;;
CREATE TABLE source (
    run_seq INTEGER NOT NULL,
    source_index INTEGER NOT NULL,
    name TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    rows BIGINT,
    PRIMARY KEY (run_seq, source_index),
    FOREIGN KEY(run_seq) REFERENCES run (run_seq)
)
;;
CREATE INDEX ix_source_sha256 ON source (sha256)
;;
CREATE TABLE attempt (
    chunk_seq INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    started_at FLOAT NOT NULL,
    ended_at FLOAT,
    status INTEGER,
    verdict TEXT,
    PRIMARY KEY (chunk_seq, attempt),
    FOREIGN KEY(chunk_seq) REFERENCES chunk (chunk_seq)
)
;;
CREATE TRIGGER chunk_born BEFORE INSERT ON chunk BEGIN
         SELECT RAISE(ABORT, 'illegal first state') WHERE NOT EXISTS (
           SELECT 1 FROM legal_move WHERE from_state = '' AND to_state = NEW.state);
         SELECT RAISE(ABORT, 'stale fence')
           WHERE CAST(NEW.fence AS TEXT) <> (SELECT value FROM meta WHERE key = 'fence');
       END
;;
CREATE TRIGGER chunk_moves BEFORE UPDATE ON chunk BEGIN
         SELECT RAISE(ABORT, 'illegal move') WHERE OLD.state <> NEW.state AND NOT EXISTS (
           SELECT 1 FROM legal_move WHERE from_state = OLD.state AND to_state = NEW.state);
         SELECT RAISE(ABORT, 'stale fence')
           WHERE CAST(NEW.fence AS TEXT) <> (SELECT value FROM meta WHERE key = 'fence');
       END
;;
CREATE TRIGGER chunk_born_history AFTER INSERT ON chunk BEGIN
         INSERT INTO history (chunk_seq, from_state, to_state, attempt, fence)
           VALUES (NEW.chunk_seq, '', NEW.state, NEW.attempt, NEW.fence);
       END
;;
CREATE TRIGGER chunk_history AFTER UPDATE OF state ON chunk WHEN OLD.state <> NEW.state BEGIN
         INSERT INTO history (chunk_seq, from_state, to_state, attempt, fence)
           VALUES (NEW.chunk_seq, OLD.state, NEW.state, NEW.attempt, NEW.fence);
       END
;;
CREATE TRIGGER history_stays BEFORE UPDATE ON history BEGIN SELECT RAISE(ABORT, 'history is append-only'); END
