-- The ledger of schema version 1, as meterfeed 0.1 wrote it on this database. Never to be changed.
CREATE TABLE history (
    seq BIGSERIAL NOT NULL,
    chunk_seq BIGINT NOT NULL,
    from_state TEXT NOT NULL,
    to_state TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    fence BIGINT NOT NULL,
    PRIMARY KEY (seq)
)
;;
CREATE INDEX ix_history_chunk_seq ON history (chunk_seq)
;;
CREATE TABLE holding (
    kind TEXT NOT NULL,
    bucket INTEGER NOT NULL,
    n INTEGER NOT NULL,
    page BYTEA NOT NULL,
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
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (key)
)
;;
CREATE TABLE run (
    run_seq BIGSERIAL NOT NULL,
    run_id TEXT NOT NULL,
    command TEXT NOT NULL,
    environment TEXT NOT NULL,
    profiles TEXT NOT NULL,
    job_digest TEXT NOT NULL,
    state TEXT NOT NULL,
    plan_digest TEXT,
    plan TEXT,
    approved TEXT,
    spool TEXT,
    fence BIGINT NOT NULL,
    started_at FLOAT NOT NULL,
    ended_at FLOAT,
    exit_code INTEGER,
    summary TEXT,
    PRIMARY KEY (run_seq),
    UNIQUE (run_id)
)
;;
CREATE INDEX ix_run_job_digest ON run (job_digest)
;;
CREATE TABLE chunk (
    chunk_seq BIGSERIAL NOT NULL,
    chunk_id TEXT NOT NULL,
    run_seq BIGINT NOT NULL,
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
    manifest BYTEA NOT NULL,
    fence BIGINT NOT NULL,
    PRIMARY KEY (chunk_seq),
    FOREIGN KEY(run_seq) REFERENCES run (run_seq)
)
;;
CREATE INDEX chunk_by_run ON chunk (run_seq, phase, state)
;;
CREATE INDEX chunk_unfinished ON chunk (state)
;;
CREATE INDEX ix_chunk_chunk_id ON chunk (chunk_id)
;;
CREATE TABLE source (
    run_seq BIGINT NOT NULL,
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
    chunk_seq BIGINT NOT NULL,
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
CREATE OR REPLACE FUNCTION chunk_moves() RETURNS trigger AS $$
       DECLARE was text := '';
       BEGIN
         IF TG_OP = 'UPDATE' THEN was := OLD.state; END IF;
         IF was <> NEW.state AND NOT EXISTS (
             SELECT 1 FROM legal_move WHERE from_state = was AND to_state = NEW.state) THEN
           RAISE EXCEPTION 'illegal move from %% to %%', was, NEW.state;
         END IF;
         IF NEW.fence::text <> (SELECT value FROM meta WHERE key = 'fence') THEN
           RAISE EXCEPTION 'stale fence';
         END IF;
         RETURN NEW;
       END $$ LANGUAGE plpgsql
;;
CREATE OR REPLACE FUNCTION chunk_history() RETURNS trigger AS $$
       DECLARE was text := '';
       BEGIN
         IF TG_OP = 'UPDATE' THEN was := OLD.state; END IF;
         IF was <> NEW.state THEN
           INSERT INTO history (chunk_seq, from_state, to_state, attempt, fence)
             VALUES (NEW.chunk_seq, was, NEW.state, NEW.attempt, NEW.fence);
         END IF;
         RETURN NULL;
       END $$ LANGUAGE plpgsql
;;
CREATE OR REPLACE FUNCTION history_stays() RETURNS trigger AS $$
       BEGIN RAISE EXCEPTION 'history is append-only'; END $$ LANGUAGE plpgsql
;;
CREATE TRIGGER chunk_moves BEFORE INSERT OR UPDATE ON chunk FOR EACH ROW EXECUTE FUNCTION chunk_moves()
;;
CREATE TRIGGER chunk_history AFTER INSERT OR UPDATE ON chunk FOR EACH ROW EXECUTE FUNCTION chunk_history()
;;
CREATE TRIGGER history_stays BEFORE UPDATE ON history FOR EACH ROW EXECUTE FUNCTION history_stays()
