#!/bin/bash
# Turns the ZOO_* variables into a configuration, unless one is mounted, and drops root.
set -e

if [ "$1" = zkServer.sh ] && [ "$(id -u)" = 0 ]; then
    chown -R zookeeper:zookeeper "$ZOO_CONF_DIR" "$ZOO_DATA_DIR" "$ZOO_DATA_LOG_DIR" "$ZOO_LOG_DIR"
    exec gosu zookeeper "$0" "$@"
fi

config=$ZOO_CONF_DIR/zoo.cfg
if [ ! -e "$config" ]; then
    set -f # the unquoted lists below are words, not file names
    {
        printf '%s\n' \
            "dataDir=$ZOO_DATA_DIR" \
            "dataLogDir=$ZOO_DATA_LOG_DIR" \
            "tickTime=${ZOO_TICK_TIME:-2000}" \
            "initLimit=${ZOO_INIT_LIMIT:-5}" \
            "syncLimit=${ZOO_SYNC_LIMIT:-2}" \
            "autopurge.snapRetainCount=${ZOO_AUTOPURGE_SNAPRETAINCOUNT:-3}" \
            "autopurge.purgeInterval=${ZOO_AUTOPURGE_PURGEINTERVAL:-0}" \
            "maxClientCnxns=${ZOO_MAX_CLIENT_CNXNS:-60}" \
            "standaloneEnabled=${ZOO_STANDALONE_ENABLED:-true}" \
            "admin.enableServer=${ZOO_ADMINSERVER_ENABLED:-true}"
        printf '%s\n' ${ZOO_SERVERS:-server.1=localhost:2888:3888;2181}
        if [ -n "$ZOO_4LW_COMMANDS_WHITELIST" ]; then
            printf '%s\n' "4lw.commands.whitelist=$ZOO_4LW_COMMANDS_WHITELIST"
        fi
        if [ -n "$ZOO_CFG_EXTRA" ]; then
            printf '%s\n' $ZOO_CFG_EXTRA
        fi
    } >"$config"
fi
if [ ! -e "$ZOO_DATA_DIR/myid" ]; then
    printf '%s\n' "${ZOO_MY_ID:-1}" >"$ZOO_DATA_DIR/myid"
fi

exec "$@"
