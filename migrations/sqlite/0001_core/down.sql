-- Takes everything back.
DROP TABLE audit_chains;
DROP TABLE audit_events;
DROP TABLE counters;
DROP TABLE throttles;
DROP TABLE sessions;
DROP TABLE applications;
DROP TABLE group_members;
DROP TABLE groups;
DROP TABLE user_search;
DROP TABLE sign_in_names;
DROP TABLE users;
