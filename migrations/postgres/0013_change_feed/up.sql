-- What is remembered in memory must be forgotten when it changes, whoever changes it: every change of what a call is judged by is
-- announced on the channel usher when it is committed, and told to the transaction that makes it (usher.touched).
-- u:ID a user with groups, c:ID a session or API key, * everything. SQLite needs none of this in the database: see src/store/feed.rs.
CREATE FUNCTION usher_touch() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    touched text := '*';
    gone    jsonb := to_jsonb(CASE WHEN TG_OP = 'INSERT' THEN NEW ELSE OLD END);
BEGIN
    IF TG_ARGV[0] <> '*' THEN
        touched := TG_ARGV[0] || ':' || (gone ->> TG_ARGV[1]);
    END IF;
    PERFORM pg_notify('usher', touched);
    PERFORM set_config('usher.touched', coalesce(current_setting('usher.touched', true), '') || ' ' || touched, true);
    RETURN NULL;
END
$$;

CREATE TRIGGER usher_touch AFTER UPDATE OR DELETE ON users              FOR EACH ROW EXECUTE FUNCTION usher_touch('u', 'user_id');
CREATE TRIGGER usher_touch AFTER INSERT OR UPDATE OR DELETE ON group_members FOR EACH ROW EXECUTE FUNCTION usher_touch('u', 'user_id');
CREATE TRIGGER usher_touch AFTER UPDATE OR DELETE ON sessions           FOR EACH ROW EXECUTE FUNCTION usher_touch('c', 'session_id');
CREATE TRIGGER usher_touch AFTER UPDATE OR DELETE ON api_keys           FOR EACH ROW EXECUTE FUNCTION usher_touch('c', 'key_id');
CREATE TRIGGER usher_touch AFTER UPDATE OR DELETE ON applications       FOR EACH ROW EXECUTE FUNCTION usher_touch('*');
CREATE TRIGGER usher_touch AFTER INSERT OR UPDATE OR DELETE ON application_groups FOR EACH ROW EXECUTE FUNCTION usher_touch('*');
CREATE TRIGGER usher_touch AFTER UPDATE OR DELETE ON groups             FOR EACH ROW EXECUTE FUNCTION usher_touch('*');
