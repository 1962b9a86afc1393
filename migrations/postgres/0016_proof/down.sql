ALTER TABLE sessions DROP COLUMN auth_time;
ALTER TABLE sessions DROP COLUMN auth_methods;
DROP TABLE token_keys;
DROP VIEW audit_events;
CREATE VIEW audit_events AS
    SELECT b.chain, b.last - length(b.hashes) / 32 + e.place AS seq,
        to_timestamp(0) + (e.value ->> 0)::bigint * interval '1 microsecond' AS time,
        e.value ->> 1 AS cid,
        e.value ->> 2 AS action,
        e.value ->> 3 AS outcome,
        e.value ->> 4 AS reason,
        e.value ->> 5 AS actor_type,
        e.value ->> 6 AS actor,
        e.value ->> 7 AS actor_session,
        e.value ->> 8 AS subject,
        e.value ->> 9 AS application,
        e.value ->> 10 AS remote_addr,
        e.value ->> 11 AS traceparent,
        c.changes, encode(c.salt, 'hex') AS changes_salt,
        e.value ->> 12 AS changes_digest,
        encode(substr(b.hashes, (e.place - 1)::integer * 32 + 1, 32), 'hex') AS hash
    FROM audit_batches b CROSS JOIN LATERAL jsonb_array_elements(b.events::jsonb) WITH ORDINALITY AS e (value, place)
    LEFT JOIN audit_changes c ON c.chain = b.chain AND c.seq = b.last - length(b.hashes) / 32 + e.place;
DROP TABLE audit_shown;
DROP TABLE known_addresses;
DROP INDEX users_unconfirmed_by_name;
DROP INDEX users_administrators;
DROP INDEX users_awaiting_by_number;
DROP INDEX users_awaiting;
DROP INDEX users_locked;
DROP TABLE audit_rollbacks;
ALTER TABLE audit_beginnings DROP COLUMN month;
ALTER TABLE applications DROP COLUMN second_factor;
ALTER TABLE sessions DROP COLUMN mac;
ALTER TABLE api_keys DROP COLUMN mac;
ALTER TABLE links DROP COLUMN mac;
ALTER TABLE applications DROP COLUMN mac;
ALTER TABLE linked_accounts DROP COLUMN mac;
ALTER TABLE totp_credentials DROP COLUMN mac;
ALTER TABLE recovery_codes DROP COLUMN mac;
ALTER TABLE users DROP COLUMN credential_mac;
