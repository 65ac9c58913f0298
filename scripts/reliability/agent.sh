#!/bin/sh
# `agent.sh HOST COMMAND...`: what mpirun calls in place of ssh when hosts are network namespaces.
host=$1
shift
exec ip netns exec "ofa-${host##*.}" unshare --uts sh -c "hostname ofa-${host##*.}; $*"
