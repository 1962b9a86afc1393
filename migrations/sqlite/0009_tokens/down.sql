DELETE FROM counters WHERE name = 'signing_keys';
DROP TABLE signing_keys;
