# Takes an image into the builder, as root of it: the archive is standard input, $1 its id and $2 the
# reference by which Containerfiles know it.
set -eu
file=$(mktemp /var/tmp/bhatti-from-XXXXXXXX)
trap 'rm -f -- "$file"' EXIT
trap 'exit 143' HUP INT TERM
cat > "$file"
image=$(buildah pull --quiet "oci-archive:$file")
buildah tag "$image" "localhost/bhatti-from/$1" "$2"
