#!/bin/sh
# Runs once, on an empty data folder: the service's database, owned by an account that can do nothing else.
set -eu
psql --set=ON_ERROR_STOP=1 --username=postgres --dbname=postgres --set=password="$DATABASE_PASSWORD" <<'SQL'
CREATE ROLE ticketing LOGIN PASSWORD :'password';
CREATE DATABASE ticketing OWNER ticketing;
SQL
