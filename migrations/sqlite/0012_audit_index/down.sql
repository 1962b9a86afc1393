DROP TABLE audit_indexed;
DROP TABLE audit_index;
CREATE INDEX audit_events_by_time ON audit_events (time, chain, seq);
CREATE INDEX audit_events_by_cid ON audit_events (cid);
CREATE INDEX audit_events_by_actor ON audit_events (actor, time) WHERE actor IS NOT NULL;
CREATE INDEX audit_events_by_subject ON audit_events (subject, time) WHERE subject IS NOT NULL;
