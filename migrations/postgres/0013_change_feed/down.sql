DROP TRIGGER usher_touch ON groups;
DROP TRIGGER usher_touch ON application_groups;
DROP TRIGGER usher_touch ON applications;
DROP TRIGGER usher_touch ON api_keys;
DROP TRIGGER usher_touch ON sessions;
DROP TRIGGER usher_touch ON group_members;
DROP TRIGGER usher_touch ON users;
DROP FUNCTION usher_touch();
