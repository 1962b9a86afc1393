ALTER TABLE sessions DROP COLUMN auth_methods;
DROP TABLE token_keys;
DROP TABLE audit_rollbacks;
ALTER TABLE audit_beginnings DROP COLUMN month;
ALTER TABLE applications DROP COLUMN second_factor;
