-- Nothing here: on SQLite the writer keeps triggers of its own, and notices other processes by themselves (src/store/feed.rs).
SELECT 1;
