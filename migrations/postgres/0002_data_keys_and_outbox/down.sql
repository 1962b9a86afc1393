DROP TABLE outbox;
DROP TABLE data_keys;
