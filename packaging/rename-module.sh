#!/bin/sh
# Renames the Go module in every file that names it: rename-module.sh host/owner/name
#
# It can be run again with another name. The program, its files and its units keep theirs.
set -eu
new=${1:-}
case $new in
'' | /* | */ | *//* | *[!A-Za-z0-9._~/-]*)
	echo "usage: make module MODULE=host/owner/name, such as github.com/someone/tcp-log-server" >&2
	exit 2
	;;
esac
cd "$(dirname "$0")/.."
old=$(sed -n 's/^module //p' go.mod | sed 's/[.]/\\./g')
packages=$(find . -maxdepth 1 -type d -name '[a-z]*' | sed 's,^\./,,' | tr '\n' '|' | sed 's/[.]/\\./g; s/|$//')
find . \( -name '.?*' -o -name node_modules -o -name dist \) -prune -o -type f \
	\( -name '*.go' -o -name '*.mk' -o -name Dockerfile -o -name '*.md' -o -name '*.sh' -o -name '*.txt' \) -print |
	xargs grep -lE "$old" | xargs sed -i.renamed -E \
	-e "s#(^|[^A-Za-z0-9._/-])$old/(\(?($packages)[^A-Za-z0-9_-])#\1$new/\2#g" \
	-e "s#$old(@v0\.0\.0|=\.\./)#$new\1#g"
find . \( -name '.?*' -o -name node_modules \) -prune -o -name go.mod -print |
	xargs sed -i.renamed -E "s#^(module |require |replace |	)$old( |/|\$)#\1$new\2#"
find . -name '*.renamed' -exec rm {} +
