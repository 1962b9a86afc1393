ALTER TABLE sessions DROP COLUMN auth_time;
ALTER TABLE sessions DROP COLUMN auth_methods;
DROP TABLE token_keys;
DROP VIEW audit_events;
CREATE VIEW audit_events AS
    SELECT b.chain, b.last - length(b.hashes) / 32 + 1 + e.key AS seq,
        json_extract(e.value, '$[0]') AS time,
        json_extract(e.value, '$[1]') AS cid,
        json_extract(e.value, '$[2]') AS action,
        json_extract(e.value, '$[3]') AS outcome,
        json_extract(e.value, '$[4]') AS reason,
        json_extract(e.value, '$[5]') AS actor_type,
        json_extract(e.value, '$[6]') AS actor,
        json_extract(e.value, '$[7]') AS actor_session,
        json_extract(e.value, '$[8]') AS subject,
        json_extract(e.value, '$[9]') AS application,
        json_extract(e.value, '$[10]') AS remote_addr,
        json_extract(e.value, '$[11]') AS traceparent,
        c.changes, lower(nullif(hex(c.salt), '')) AS changes_salt,
        json_extract(e.value, '$[12]') AS changes_digest,
        lower(hex(substr(b.hashes, e.key * 32 + 1, 32))) AS hash
    FROM audit_batches b JOIN json_each(b.events) e
    LEFT JOIN audit_changes c ON c.chain = b.chain AND c.seq = b.last - length(b.hashes) / 32 + 1 + e.key;
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
