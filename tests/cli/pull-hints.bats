# SPDX-License-Identifier: Apache-2.0
# The hints for the order of pulling, over real files: what they name is enough for the programs that
# read such files to find their way, and little of the file.
load ../helper

setup() { cd "$BATS_TEST_TMPDIR" || return 1; }

hints() { "$BIN/tests/cli/pull-hints" "$@"; }

# partial FILE: FILE.partial has the bytes that the hint names, and zeroes elsewhere; sets kind, reads
# (how many trips the hint took) and named (bytes, each counted once).
partial() {
  hints "$@" >hints.out
  { read -r kind; read -r reads; } <hints.out
  named=$(tail -n +3 hints.out | python3 -c '
import sys
source, target, seen = open(sys.argv[1], "rb"), open(sys.argv[1] + ".partial", "wb"), set()
size = source.seek(0, 2)
target.truncate(size)
for line in sys.stdin:
    offset, length = map(int, line.split(","))
    assert 0 < length and offset + length <= size
    for part in range(offset, offset + length, 1 << 20):
        source.seek(part); target.seek(part)
        target.write(source.read(min(1 << 20, offset + length - part)))
    seen.update(range(offset // 512, (offset + length + 511) // 512))
print(512 * len(seen))' "$1")
}

same() { # COMMAND with FILE: prints the same for the file and its partial copy
  local file=$1
  shift
  "$@" "$file" >whole.out 2>whole.err
  "$@" "$file.partial" >partial.out 2>partial.err
  diff <(sed "s/$file/FILE/g" whole.out) <(sed "s/$file.partial/FILE/g" partial.out)
}

root_directory() { debugfs -R "ls -l /" "$1"; }
inodes() { debugfs -R "stat <12>" "$1" | grep -v '^Inode count'; }

@test "ext4, ext3, ext2: descriptors, bitmaps, inodes and the root directory are named, no data" {
  mkdir tree && for i in $(seq 300); do echo "$i" >"tree/$i"; done
  head -c 8M /dev/urandom >tree/data
  while read -r options; do
    echo "# $options"
    rm -f disk disk.partial && truncate -s 300M disk
    # shellcheck disable=SC2086  # words
    mke2fs -q -F -d tree $options disk
    partial disk
    [[ $kind == ext4 ]]
    same disk dumpe2fs
    same disk root_directory
    same disk inodes
    ((named < 24 << 20))
    ((reads < 64))
  done <<-END
	-t ext4
	-t ext4 -b 1024
	-t ext4 -O meta_bg,^resize_inode
	-t ext4 -O ^64bit,^metadata_csum,^flex_bg
	-t ext3
	-t ext2 -b 2048 -I 128
	-t ext4 -b 1024 -O meta_bg,^resize_inode,^64bit
	END
}

@test "a file system that is to be recovered: the whole journal is named" {
  truncate -s 64M disk && mke2fs -q -F -t ext4 -J size=4 disk
  partial disk && clean=$named
  debugfs -w -R "feature +needs_recovery" disk 2>/dev/null
  partial disk
  ((named - clean >= (4 << 20) - 4096))
}

@test "partitions of MBR and GPT disks get hints of their own" {
  for label in gpt dos; do
    rm -f disk && truncate -s 200M disk
    printf 'label: %s\nstart=2048, size=100M\nsize=50M\n' "$label" | sfdisk -q disk
    mke2fs -q -F -t ext4 -E offset=$((2048 * 512)) disk 100M
    partial disk
    [[ $kind == disk ]]
    [[ $(sfdisk -J disk | jq .partitiontable.partitions) == \
      "$(sfdisk -J disk.partial | jq .partitiontable.partitions | sed 's/disk.partial/disk/')" ]]
    dumpe2fs "disk?offset=1048576" >whole.out
    dumpe2fs "disk.partial?offset=1048576" >partial.out
    diff whole.out partial.out
    ((named < 8 << 20))
  done
}

make_database() { # PAGE_SIZE: two tables, one with long keys, indexes, a view, a trigger
  rm -f base.db
  sqlite3 base.db "pragma page_size=$1; create table t(a integer primary key, b text);
    create table w(k text primary key, v) without rowid; create index tb on t(b);
    create view v as select a from t; create trigger g after delete on t begin select 1; end;
    create table filler_$(printf 'x%.0s' {1..900})(a);
    with recursive c(x) as (select 1 union all select x+1 from c where x<60000)
      insert into t select x, hex(randomblob(20)) from c;
    insert into w select b || b || b, a from t where a % 10 = 0; delete from t where a % 7 = 0;"
}

@test "sqlite: the schema and every interior page are named, and no leaf of a large tree" {
  for page in 512 4096 65536; do
    make_database $page
    partial base.db
    [[ $kind == sqlite ]]
    # shellcheck disable=SC2119  # the whole of the schema, and what the dbstat table knows to be interior
    sqlite3 base.db "select ((pageno-1)*$page) || ',' || $page from dbstat where pagetype='internal'" |
      sort >expected
    tail -n +3 hints.out | sort >found
    [[ -z $(comm -23 expected found) ]]
    same base.db sqlite3_schema
    sqlite3 base.db "select ((pageno-1)*$page) || ',' || $page from dbstat where pagetype='leaf'
      and name in ('t','tb') and pageno not in (select rootpage from sqlite_schema)" | sort >leaves
    [[ -z $(comm -12 leaves found) ]]
    ((named * 5 < $(stat -c %s base.db) || page == 65536))
  done
}

sqlite3_schema() { sqlite3 "$1" .schema; }

streams() { ffprobe -v quiet -show_entries stream=codec_name,nb_frames,duration -of csv "$1" || true; }

@test "mp4: the index is named first, wherever it is" {
  need ffmpeg command -v ffmpeg
  make_film() { ffmpeg -v error -f lavfi -i testsrc=d=4:s=320x240 -c:v mpeg4 -q:v 2 "$@" </dev/null; }
  make_film end.mp4
  ffmpeg -v error -i end.mp4 -c copy -movflags +faststart start.mp4 </dev/null
  ffmpeg -v error -i end.mp4 -c copy -movflags +frag_keyframe+empty_moov parts.mp4 </dev/null
  ffmpeg -v error -i end.mp4 -c copy quick.mov </dev/null
  for film in end.mp4 start.mp4 parts.mp4 quick.mov; do
    partial $film
    [[ $kind == mp4 ]]
    first=$(sed -n 3p hints.out)
    [[ $(tail -c +$((${first%,*} + 5)) $film | head -c 4) == moov ]]
    same $film streams
    ((named * 4 < $(stat -c %s $film)))
  done
}

elf() { readelf -h --wide "$1" && readelf -d --wide --use-dynamic "$1"; }


@test "elf: headers and what the dynamic linker needs come before the code" {
  need readelf command -v readelf
  for program in "$(command -v bash)" "$BIN/r3-mount"; do
    cp "$program" FILE
    partial FILE
    [[ $kind == elf ]]
    same FILE elf
  done
}

@test "scripts: the beginning" {
  printf '#!/bin/sh\n%s\n' "$(head -c 100000 /dev/zero | tr '\0' x)" >script
  partial script
  [[ $kind == script && $(sed -n 3p hints.out) == 0,65536 ]]
}

@test "what is of no kind gets no hint" {
  for bytes in "" x "$(head -c 100000 /dev/zero | tr '\0' y)"; do
    printf %s "$bytes" >file
    run hints file
    ((status == 3))
  done
  head -c 1M /dev/zero >file
  run hints file
  ((status == 3))
}

@test "cut and overwritten files end soon and name nothing outside" {
  make_database 1024
  truncate -s 16M disk && mke2fs -q -F -t ext4 disk
  for file in base.db disk; do
    size=$(stat -c %s $file)
    for ((i = 0; i < 25; ++i)); do
      cp --sparse=always $file damaged
      python3 - damaged "$i" <<-'END'
	import random, sys
	random.seed(int(sys.argv[2]))
	with open(sys.argv[1], "r+b") as f:
	    size = f.seek(0, 2)
	    for _ in range(200):
	        f.seek(random.randrange(100, min(size, 1 << random.randrange(8, 24))))
	        f.write(random.randbytes(random.randrange(1, 9)))
	    if random.random() < .5: f.truncate(random.randrange(size))
	END
      status=0
      timeout 20 "$BIN/tests/cli/pull-hints" damaged >out 2>err || status=$?
      ((status == 0 || status == 3)) || { echo "seed $i of $file: $status" >&2; cat err >&2; return 1; }
      size=$(stat -c %s damaged)
      tail -n +3 out | awk -F, -v size="$size" '$1 + $2 > size { exit 1 }'
    done
  done
}
