#!/usr/bin/env bash
# Before a head ends: let the commands that run on it save, and wait for them. They answer SIGTERM with
# a checkpoint and exit code 5; Kubernetes waits for this script within the pod's grace period.
set -u
commands='^[^ ]*python[0-9.]* -m (cluster\.rerun_if_preempted|cyclegan\.train|data_prep|tune)'
pkill -TERM -f "$commands" || exit 0
for _ in $(seq 120); do
    pgrep -f "$commands" >/dev/null || exit 0
    sleep 1
done
