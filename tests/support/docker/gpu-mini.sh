#!/bin/sh
# gpu-mini.sh ASSETS WORK OUT: the root file system of the test image, as a tar archive, from Debian packages
# only. busybox for the tools and the web server, dropbear for logins, a stand-in for the vendor's tool.
set -eu
assets=$1 work=$2 out=$3
root=$work/root
lib=$root/usr/lib/stand
rm -rf "$work"
mkdir -p "$work/debs" "$work/unpacked" "$lib" "$root/bin" "$root/usr/bin" "$root/usr/sbin" "$root/etc" \
  "$root/tmp" "$root/root" "$root/run" "$root/proc" "$root/sys" "$root/dev" "$root/var/log" "$root/usr/lib64"
ln -s usr/lib64 "$root/lib64"

cp "$(command -v busybox)" "$root/bin/busybox"
for tool in $("$root/bin/busybox" --list); do
  [ "$tool" = busybox ] || ln -s busybox "$root/bin/$tool"
done

cd "$work/debs"
apt-get download dropbear-bin libtomcrypt1 libtommath1 libcrypt1 zlib1g libgmp10 >/dev/null
for package in *.deb; do
  dpkg -x "$package" "$work/unpacked"
done
cp "$work/unpacked/usr/sbin/dropbear" "$work/unpacked/usr/bin/dropbearkey" "$root/usr/sbin/"
find "$work/unpacked" -name 'lib*.so*' -exec cp -P {} "$lib/" \;
loader=$(ldd /bin/sh | sed -n 's|.*\(/lib[^ ]*/ld-[^ ]*\).*|\1|p')
system=$(dirname "$(ldd /bin/sh | sed -n 's|.*=> \(/[^ ]*libc\.so[^ ]*\).*|\1|p')")
for library in libc.so.6 libm.so.6 libutil.so.1 libresolv.so.2 libnss_files.so.2; do
  [ ! -e "$system/$library" ] || cp -L "$system/$library" "$lib/"
done
mkdir -p "$root$(dirname "$loader")"
cp -L "$loader" "$root$loader"
echo /usr/lib/stand >"$root/etc/ld.so.conf"
ldconfig -r "$root"

echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
printf 'root:x:0:\ntty:x:5:\n' >"$root/etc/group"
echo 'root:*:19000:0:99999:7:::' >"$root/etc/shadow"
echo /bin/sh >"$root/etc/shells"
echo 'passwd: files' >"$root/etc/nsswitch.conf"
chmod 1777 "$root/tmp"
chmod 700 "$root/root"
install -m 755 "$assets/nvidia-smi" "$root/usr/bin/nvidia-smi"
install -m 755 "$assets/entry" "$root/entry"
tar -C "$root" --sort=name --mtime=@0 --owner=0 --group=0 -cf "$out" .
rm -rf "$work"
