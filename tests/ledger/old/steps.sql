-- to 2 on sqlite
CREATE TABLE id_key (version INTEGER NOT NULL PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, since FLOAT NOT NULL);
INSERT INTO id_key SELECT 1, key.value, CAST(made.value AS FLOAT) FROM meta AS key, meta AS made WHERE key.key = 'id_key' AND made.key = 'created_at';
DELETE FROM meta WHERE key = 'id_key';
-- to 2 on postgresql
CREATE TABLE id_key (version INTEGER NOT NULL PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, since FLOAT NOT NULL);
INSERT INTO id_key SELECT 1, key.value, CAST(made.value AS FLOAT) FROM meta AS key, meta AS made WHERE key.key = 'id_key' AND made.key = 'created_at';
DELETE FROM meta WHERE key = 'id_key';
POSTGRES_CHUNK_MOVES;
DROP INDEX chunk_unfinished;
CREATE INDEX chunk_unfinished ON chunk (state) WHERE state in ('planned','in_flight','in_doubt','blocked');
-- to 3 on sqlite
CREATE TABLE claim (run_seq INTEGER NOT NULL REFERENCES run (run_seq), lane INTEGER NOT NULL, step INTEGER NOT NULL, steps INTEGER NOT NULL, fence BIGINT NOT NULL, owner TEXT, expires_at FLOAT NOT NULL, lost INTEGER NOT NULL, trouble TEXT, PRIMARY KEY (run_seq, lane));
DROP TRIGGER chunk_born;
SQLITE_CHUNK_MOVES[0];
DROP TRIGGER chunk_moves;
SQLITE_CHUNK_MOVES[1];
-- to 3 on postgresql
CREATE TABLE claim (run_seq BIGINT NOT NULL REFERENCES run (run_seq), lane INTEGER NOT NULL, step INTEGER NOT NULL, steps INTEGER NOT NULL, fence BIGINT NOT NULL, owner TEXT, expires_at FLOAT NOT NULL, lost INTEGER NOT NULL, trouble TEXT, PRIMARY KEY (run_seq, lane));
POSTGRES_CHUNK_MOVES;
-- to 4 on sqlite
CREATE INDEX chunk_unabsorbed ON chunk (chunk_seq) WHERE state = 'acknowledged' AND absorbed = 0;
-- to 4 on postgresql
CREATE INDEX chunk_unabsorbed ON chunk (chunk_seq) WHERE state = 'acknowledged' AND absorbed = 0;
-- to 5 on sqlite
CREATE INDEX chunk_by_cursor ON chunk (run_seq, phase, lane, cursor_to);
-- to 5 on postgresql
CREATE INDEX chunk_by_cursor ON chunk (run_seq, phase, lane, cursor_to);
