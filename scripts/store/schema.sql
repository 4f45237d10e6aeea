-- The store of received messages. `store.py --create` runs this; it may be run again.

CREATE TABLE IF NOT EXISTS mm4_messages (
    -- The id that the client has in its 250: unique over all receivers.
    id             text PRIMARY KEY,
    received_at    timestamptz,          -- by the id
    stored_at      timestamptz NOT NULL DEFAULT now(),
    spool          text NOT NULL,        -- which spool it came from
    -- The envelope, from the trace.
    system_id      text,
    return_path    text,
    recipients     text[] NOT NULL,
    -- MM4 fields (3GPP TS 23.140 8.4).
    type           text,
    version        text,
    transaction_id text,
    message_id     text,
    from_address   text,
    to_addresses   text,
    subject        text,
    request_status text,
    mm_status      text,
    fields         jsonb NOT NULL,       -- every X-Mms field, names in small letters
    -- The file, whole: the trace and then the client's bytes.
    size           bigint NOT NULL,
    sha256         bytea NOT NULL,
    raw            bytea NOT NULL
);
-- Pictures do not compress; the attempt would cost more than the rest.
ALTER TABLE mm4_messages ALTER COLUMN raw SET STORAGE EXTERNAL;

CREATE INDEX IF NOT EXISTS mm4_messages_received ON mm4_messages (received_at);
-- By hash: a peer may send values that are too long for a row of a B-tree.
CREATE INDEX IF NOT EXISTS mm4_messages_transaction ON mm4_messages USING hash (transaction_id);
CREATE INDEX IF NOT EXISTS mm4_messages_message ON mm4_messages USING hash (message_id);

-- A client that does not get the 250, because the server or the network died, sends its
-- message again: two ids, one transaction. This shows each transaction once, with the
-- copy that came first and the number of copies. A message without a Transaction-ID is one
-- of its own.
CREATE OR REPLACE VIEW mm4_transactions AS
SELECT DISTINCT ON (system_id, type, nullif(transaction_id, ''), own)
    m.*,
    count(*) OVER (PARTITION BY system_id, type, nullif(transaction_id, ''), own) AS copies
FROM mm4_messages m,
    LATERAL (SELECT CASE WHEN coalesce(transaction_id, '') = '' THEN id END AS own) o
ORDER BY system_id, type, nullif(transaction_id, ''), own, received_at, id;

-- A line for each spool. Each batch writes it, so that each COMMIT has something to wait
-- for a standby with, also when all of its messages were here already.
CREATE TABLE IF NOT EXISTS mm4_spools (
    spool      text PRIMARY KEY,
    batches    bigint NOT NULL,
    last_batch timestamptz NOT NULL
);
