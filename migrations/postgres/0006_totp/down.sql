ALTER TABLE users DROP COLUMN password_needs_totp;
ALTER TABLE users DROP COLUMN totp_enrolment_end;
ALTER TABLE users ADD COLUMN totp_secret bytea;
DROP TABLE recovery_codes;
DROP TABLE totp_credentials;
