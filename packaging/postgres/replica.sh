#!/usr/bin/env bash
# Runs a standby of PostgreSQL: where its own folder is empty it makes, on the primary, the role that it connects as and the slot that keeps the
# write-ahead log until it was read, and copies the primary; then it follows it, and answers queries that only read. Once promoted
# (`pg_ctl promote`) it is a primary, and stays one. To be started as root, which it does not stay.
#
#   PRIMARY          the primary's host, and its port if it is not 5432
#   PGPASSFILE       the password of usher there, who may make roles; needed for the copy alone
#   PASSWORD_FILE    the password that the standby's role, replicator, gets and connects with
#   PGDATA           the standby's folder
#   further arguments go to postgres
set -euo pipefail

host=${PRIMARY%%:*} port=5432
if [[ $PRIMARY == *:* ]]; then port=${PRIMARY##*:}; fi
# libpq reads a password file only if nobody else may.
passfile=/tmp/replicator.pgpass

if ((EUID == 0)); then
    (umask 077 && printf '*:*:*:replicator:%s\n' "$(<"$PASSWORD_FILE")" >"$passfile")
    install --directory --owner postgres --group postgres --mode 0700 "$PGDATA"
    chown postgres:postgres "$passfile"
    if [[ ! -s $PGDATA/PG_VERSION ]]; then
        # The password comes by standard input: what stands in the command line is there for all to see.
        {
            # shellcheck disable=SC2016 # psql runs what stands between the backquotes.
            printf '\\set password `cat %q`\n' "$PASSWORD_FILE"
            cat <<'SQL'
SELECT 'CREATE ROLE replicator' WHERE NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'replicator') \gexec
ALTER ROLE replicator LOGIN REPLICATION PASSWORD :'password';
SELECT pg_create_physical_replication_slot('replica')
    WHERE NOT EXISTS (SELECT 1 FROM pg_replication_slots WHERE slot_name = 'replica') \g /dev/null
SQL
        } | psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --host "$host" --port "$port" --username usher --dbname usher
    fi
    exec gosu postgres "${BASH_SOURCE[0]}" "$@"
fi

if [[ ! -s $PGDATA/PG_VERSION ]]; then
    # What an interrupted copy has left behind is of no use.
    find "$PGDATA" -mindepth 1 -delete
    pg_basebackup --pgdata "$PGDATA" --checkpoint fast --wal-method stream --slot replica --write-recovery-conf \
        --dbname "host=$host port=$port user=replicator passfile=$passfile application_name=replica connect_timeout=5"
fi
exec postgres -D "$PGDATA" "$@"
