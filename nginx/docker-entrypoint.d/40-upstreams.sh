#!/bin/sh
# Writes upstream.conf: a server line for each gateway that there may ever be.
#
# Why not one line with the service's name: Nginx places a server on the hash ring by its name in
# this file. Replicas behind one name share one place, and users are spread over them in turn. With a
# name for each, exactly a dead gateway's users move, and come back with it.
#
# Names that do not resolve are no servers, so scaling up to GATEWAY_SLOTS needs no reload.
set -eu

slots=${GATEWAY_SLOTS:-16}
# Compose calls its containers <project>-<service>-<number>.
name=${GATEWAY_NAME:-draftwire-gateway}
port=${GATEWAY_PORT:-8080}
nameserver=$(awk '/^nameserver/ { print $2; exit }' /etc/resolv.conf)

{
    echo "# Written by $0"
    # Asked again this often, so a gateway is found, and a gone one forgotten, within seconds.
    echo "resolver $nameserver valid=2s ipv6=off;"
    echo "resolver_timeout 2s;"
    echo "upstream gateways {"
    # Shared by the workers: which addresses there are, and which of them failed.
    echo "    zone gateways 512k;"
    echo "    hash \$sticky_key consistent;"
    i=1
    while [ "$i" -le "$slots" ]; do
        # Never shut out for failures. A draining gateway's 503 counts as one, so a rolling restart
        # would soon have shut out all of them at once; and so would one request that none survives.
        # A request that meets a dead gateway goes on to the next by itself. The price: when a machine
        # vanishes without a word, its users wait proxy_connect_timeout, until its name is gone.
        echo "    server $name-$i:$port resolve max_fails=0;"
        i=$((i + 1))
    done
    # For each worker, so that HTTP requests need no new connection.
    echo "    keepalive 32;"
    echo "}"
} >/etc/nginx/upstream.conf
