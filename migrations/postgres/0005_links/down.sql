ALTER TABLE applications DROP COLUMN is_sign_up_approval_needed;
ALTER TABLE applications DROP COLUMN is_sign_up_open;
DROP INDEX users_unconfirmed;
DROP INDEX users_by_email_key;
ALTER TABLE users DROP COLUMN email_key;
DROP TABLE links;
