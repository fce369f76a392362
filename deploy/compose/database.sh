#!/bin/sh
# Runs once, when the volume is new. footing_owner owns the database and migrates it; footing serves, and owns nothing.
set -eu

psql --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres \
  --set owner_password="$OWNER_PASSWORD" --set service_password="$SERVICE_PASSWORD" <<'SQL'
create role "footing_owner" login password :'owner_password';
create role "footing" password :'service_password';
-- What the service would ask for itself, where a pooler in between does not let it.
alter role "footing" set statement_timeout = '30s';

create database "footing" owner "footing_owner";
revoke all on database "footing" from public;
grant connect on database "footing" to "footing";

\connect "footing"
-- The one thing that takes a superuser.
create extension if not exists timescaledb;

-- Of kysely_migration, which boot compares with the code, the migrator leaves it the right to read.
alter default privileges for role "footing_owner" grant usage on schemas to "footing";
alter default privileges for role "footing_owner" grant select, insert, update, delete on tables to "footing";
alter default privileges for role "footing_owner" grant usage, select on sequences to "footing";

-- Last: the health check logs in with it, so a script that failed before this line is one that shows.
alter role "footing" login;
SQL
