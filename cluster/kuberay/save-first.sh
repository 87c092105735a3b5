#!/usr/bin/env bash
# Before a head ends: let its commands save, and wait for them. On SIGTERM they exit with a checkpoint
# and code 5; Kubernetes waits for this script within the pod's grace period.
set -u
commands='^[^ ]*python[0-9.]* -m (cluster\.rerun_if_preempted|cyclegan\.train|data_prep|tune)'
pkill -TERM -f "$commands" || exit 0
for _ in $(seq 120); do
    pgrep -f "$commands" >/dev/null || exit 0
    sleep 1
done
