DROP TABLE audit_rollbacks;
ALTER TABLE audit_beginnings DROP COLUMN month;
SELECT 1;
ALTER TABLE applications DROP COLUMN second_factor;
