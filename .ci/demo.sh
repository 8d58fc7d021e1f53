#!/bin/sh
# What the program does, on a small synthetic ISO. Nothing but Go is needed.
set -eu
GO=${GO:-go} ESXI_IMG=${ESXI_IMG:-bin/esxi-img}
dir=$(mktemp -d)
registry=
finish() {
	[ -z "$registry" ] || kill "$registry" 2>/dev/null || :
	rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM
PATH=$(cd "$(dirname "$ESXI_IMG")" && pwd):$PATH

tell() { printf '\n== %s\n' "$*"; }
show() { # COMMAND…: prints it as a user would type it, then runs it
	printf '\n$ %s\n' "$*"
	"$@"
}

tell "A synthetic ESXi installer ISO: laid out as VMware's, filled with noise."
$GO run ./pkg/esxitest/mkiso -size small "$dir/esxi.iso"
cd "$dir"
show ls -l esxi.iso
show esxi-img inspect esxi.iso

tell "A disk image that installs it."
show esxi-img --output esxi.img esxi.iso
show esxi-img inspect esxi.img

tell "A registry: any will do, this one is built in."
printf '\n$ esxi-img serve images --listen 127.0.0.1:0 &\n'
esxi-img serve images --listen 127.0.0.1:0 >serve.out 2>serve.err &
registry=$!
tries=0
until at=$(sed -n 's,^listening *http://,,p' serve.out) && [ -n "$at" ]; do
	tries=$((tries + 1))
	if [ "$tries" -gt 100 ] || ! kill -0 "$registry" 2>/dev/null; then
		echo "the registry did not start:" >&2
		cat serve.err >&2
		exit 1
	fi
	sleep 0.1
done
cat serve.out

tell "The image as an artifact, built and pushed."
show esxi-img build esxi.iso
show esxi-img push "$at/org/esxi:8.0"

tell "Signed with a fresh key: whoever pulls can tell who made it."
show esxi-img sign --generate-key esxi
show esxi-img sign "$at/org/esxi:8.0" --key esxi.key
show esxi-img verify "$at/org/esxi:8.0" --key esxi.pub

tell "Pulled, and the same to the byte. The second time there is nothing to do."
show esxi-img pull "$at/org/esxi:8.0" --output pulled.img --key esxi.pub
show cmp esxi.img pulled.img
show esxi-img pull "$at/org/esxi:8.0" --output pulled.img --key esxi.pub

tell "For a second disk in the same host: identifiers of its own, the content from the first."
show esxi-img pull "$at/org/esxi:8.0" --output second.img --unique-ids --seed pulled.img --key esxi.pub

tell "Another kickstart for one host: a variant, in kilobytes."
cat >lab.cfg <<'KS'
vmaccepteula
install --firstdisk --overwritevmfs
network --bootproto=dhcp --device=vmnic0
%include /tmp/rootpw
reboot
KS
show esxi-img push "$at/org/esxi:lab" --base "$at/org/esxi:8.0" --kickstart lab.cfg --base-key esxi.pub --sign --key esxi.key
show esxi-img pull "$at/org/esxi:lab" --output lab.img --seed pulled.img --key esxi.pub

tell "Customised for one host: its metadata and its root password, the payload as it is."
mkdir -p esx1/openstack/latest
cat >esx1/openstack/latest/meta_data.json <<'JSON'
{"uuid": "83679162-1378-4288-a2d4-70e13ec132aa", "hostname": "esx1.lab.example"}
JSON
cat >esx1/openstack/latest/network_data.json <<'JSON'
{"links": [{"id": "nic0", "type": "phy", "ethernet_mac_address": "52:54:00:12:34:56"}],
 "networks": [{"id": "management", "type": "ipv4", "link": "nic0", "ip_address": "192.0.2.11",
   "netmask": "255.255.255.0", "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "192.0.2.1"}]}],
 "services": [{"type": "dns", "address": "192.0.2.53"}]}
JSON
echo 'a password that nobody knows' >root.pw
show esxi-img customize pulled.img --output esx1.img --config-drive esx1 --root-password-file root.pw
show esxi-img inspect esx1.img
show esxi-img diff pulled.img esx1.img

tell "The same on the way from the registry."
show esxi-img pull "$at/org/esxi:8.0" --output esx1-too.img --seed pulled.img --config-drive esx1 --root-password-file root.pw --key esxi.pub

tell "A list of hosts: an overlay for each over one image."
cat >hosts.yaml <<'YAML'
version: 1
defaults:
  rootPasswordFile: root.pw
hosts:
  - name: esx1
    configDrive: esx1
  - name: esx2
    hostname: esx2.lab.example
YAML
show cat hosts.yaml
show esxi-img customize pulled.img --hosts hosts.yaml --output hosts --format qcow2 --backing

tell "What is in the registry, and who vouches for it."
show esxi-img catalog "$at/org/esxi" --key esxi.pub

tell "The registry is a folder of image layouts, which other tools read as well."
kill "$registry"
wait "$registry"
registry=
show find images -name index.json
show esxi-img inspect oci:images/org/esxi:8.0
