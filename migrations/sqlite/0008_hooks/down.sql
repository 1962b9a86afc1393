DELETE FROM outbox WHERE hook_id IS NOT NULL;
DROP INDEX outbox_by_hook;
ALTER TABLE outbox DROP COLUMN hook_id;
DROP TABLE hook_secrets;
DROP TABLE hooks;
