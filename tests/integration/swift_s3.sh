#!/bin/sh
# A real S3 server from PyPI alone: one node of OpenStack Swift with its S3 API, on 127.0.0.1.
#
# Use: swift_s3.sh FOLDER PROXY ACCOUNT CONTAINER OBJECT      (a new folder, and four free ports)
# The swift-* programs must be on PATH; see requirements/swift.lock. S3 is at http://127.0.0.1:PROXY,
# region us-east-1, access key test:tester, secret testing, paths instead of host names. It runs
# until it is terminated or one of its four servers ends, and takes the others along.
set -eu

folder=$1 proxy=$2 account=$3 container=$4 object=$5
mkdir -p "$folder/conf" "$folder/disks/d1" "$folder/log"
folder=$(cd "$folder" && pwd)
cd "$folder/conf"

cat > swift.conf <<END
[swift-hash]
swift_hash_path_suffix = test
swift_hash_path_prefix = test
[storage-policy:0]
name = Policy-0
default = yes
END

# What all four servers share; there is no syslog, and no memcached.
common() {
  cat <<END
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = $1
workers = 0
user = $(id -un)
swift_dir = $folder/conf
log_level = WARNING
log_address = $folder/log/none
END
}

storage_server() {
  name=$1 port=$2
  {
    swift-ring-builder "$name.builder" create 4 1 1
    swift-ring-builder "$name.builder" add --region 1 --zone 1 --ip 127.0.0.1 --port "$port" \
      --device d1 --weight 100
    swift-ring-builder "$name.builder" rebalance
  } > "$folder/log/$name.ring"
  common "$port" > "$name-server.conf"
  cat >> "$name-server.conf" <<END
devices = $folder/disks
mount_check = false
fallocate_reserve = 0
disable_fallocate = true
[pipeline:main]
pipeline = $name-server
[app:$name-server]
use = egg:swift#$name
END
}

storage_server account "$account"
storage_server container "$container"
storage_server object "$object"

common "$proxy" > proxy-server.conf
cat >> proxy-server.conf <<END
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache listing_formats bulk s3api tempauth copy slo dlo versioned_writes symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:1
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
s3_acl = false
check_bucket_owner = false
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true
END
for filter in catch_errors gatekeeper healthcheck listing_formats bulk copy slo dlo symlink; do
  printf '[filter:%s]\nuse = egg:swift#%s\n' $filter $filter >> proxy-server.conf
done

servers=
trap 'trap - EXIT; kill $servers 2>/dev/null || :; wait' EXIT
trap 'exit 0' TERM INT
for name in account container object proxy; do
  "swift-$name-server" "$folder/conf/$name-server.conf" > "$folder/log/$name.out" 2>&1 &
  servers="$servers $!"
done
while kill -0 $servers 2>/dev/null; do
  sleep 1 & wait $!
done
