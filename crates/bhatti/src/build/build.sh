# Builds an image, as root of the builder. Standard input: a tar of `Containerfile` and `context/`;
# standard output: the image as an OCI archive; standard error: what the build says.
# $1 is the image's name; the rest are options of `buildah build`.
set -eu
name=$1
shift

# What a build left that was killed: nobody holds its lock.
for old in /var/tmp/bhatti-build-*; do
  [ -d "$old" ] && flock -n "$old" rm -rf -- "$old" || :
done
# The cache makes room when the disk is nearly full.
if [ "$(df --output=pcent / | tail -n 1 | tr -dc 0-9)" -gt 80 ]; then
  buildah rmi --prune --force >&2 || :
fi

dir=$(mktemp -d /var/tmp/bhatti-build-XXXXXXXX)
exec 9<"$dir"
flock 9
trap 'rm -rf -- "$dir"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

tar -x -C "$dir" --no-same-owner
exec 3>&1 1>&2
# The ignore file was heeded where the context comes from.
buildah build --isolation chroot --layers --format oci --ignorefile /dev/null \
  --file "$dir/Containerfile" --tag "localhost/bhatti/$name" "$@" "$dir/context" </dev/null
buildah push --quiet "localhost/bhatti/$name" "oci-archive:$dir/image.tar" >/dev/null
cat -- "$dir/image.tar" >&3
