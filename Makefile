# r3tools. `make` builds; `make check` proves what needs no root; `make test` installs what the tests
# need and runs all of them; `make demo` shows the main job. Variables: BUILD, SAN, WERROR, STRICT,
# PREFIX, DESTDIR.

PREFIX      ?= /usr/local
BINDIR      ?= $(PREFIX)/bin
LIBEXECDIR  ?= $(PREFIX)/libexec/r3tools
MANDIR      ?= $(PREFIX)/share/man
SYSTEMDDIR  ?= $(PREFIX)/lib/systemd/system
LIBDIR      ?= $(PREFIX)/lib
INCLUDEDIR  ?= $(PREFIX)/include/r3tools
BASHCOMPDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHCOMPDIR  ?= $(PREFIX)/share/zsh/site-functions
FISHCOMPDIR ?= $(PREFIX)/share/fish/vendor_completions.d

SAN      ?=
comma    := ,
BUILD    ?= build$(if $(SAN),-$(subst $(comma),-,$(SAN)))
CXX      ?= g++
OPT      ?= -O2 -g1
CXXFLAGS += -std=c++20 $(OPT) -fPIE -pthread -fstack-protector-strong -ffunction-sections \
            -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wnon-virtual-dtor \
            $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer $(if $(filter thread,$(SAN)),-Wno-tsan),-D_FORTIFY_SOURCE=2) \
            $(if $(WERROR),-Werror)
CPPFLAGS += -I. -D_FILE_OFFSET_BITS=64 -DR3_LIBEXECDIR='"$(LIBEXECDIR)"'
LDFLAGS  += -pie -pthread -Wl,--as-needed $(if $(SAN),-fsanitize=$(SAN),-Wl$(comma)--gc-sections -static-libstdc++ -static-libgcc)

FUSE_CFLAGS := $(shell pkg-config --cflags fuse3 2>/dev/null)
CPPFLAGS    += $(filter -D%,$(FUSE_CFLAGS)) -isystem /usr/include/fuse3
LDLIBS      := -lfuse3 -luring -lsodium -lzstd -lxxhash

units     := $(wildcard tools/*/*@.service)
libs_tape := $(if $(wildcard /usr/include/lmdb.h),-llmdb)
all_tools := $(notdir $(patsubst %/,%,$(dir $(wildcard tools/*/main.cpp))))
tools     := $(filter-out $(if $(libs_tape),,tapisk),$(all_tools))
# Region helpers, and the libraries of each: one whose library is missing is left out.
all_regions   := $(notdir $(patsubst %/,%,$(dir $(wildcard tools/regions/*/main.cpp))))
libs_redis    := $(shell pkg-config --libs hiredis openssl 2>/dev/null)
libs_http     := $(shell pkg-config --libs libcurl 2>/dev/null)
libs_s3       := $(shell pkg-config --libs libcurl libcrypto 2>/dev/null)
libs_cql      := $(shell pkg-config --libs zlib 2>/dev/null)
libs_rados    := $(if $(wildcard /usr/include/rados/librados.h),-lrados)
libs_confine  := $(shell pkg-config --libs libseccomp 2>/dev/null)
regions       := $(if $(libs_confine),$(foreach r,$(all_regions),$(if $(libs_$(r)),$(r))))
shares_http   := web
shares_s3     := web
shares_tape   := reel
shares_redis  := tls
region_src    := $(wildcard tools/regions/*.cpp)
lib_src   := $(wildcard libcommon/*/*.cpp)
unit_src  := $(wildcard tests/unit/*.cpp)
fuzz_src  := $(wildcard tests/fuzz/*_fuzz.cpp)
# What tests run besides the tools, and what only benchmarks do.
aid_src   := $(wildcard tests/cli/*.cpp tests/vm/*.cpp tests/fault/*.cpp) tests/bench/swap-load.cpp
bench_src := $(filter-out $(aid_src) $(if $(libs_redis),,%/redis_straight.cpp) $(if $(libs_http),,%/web_straight.cpp), \
               $(wildcard tests/bench/*.cpp tests/bench/limits/*.cpp))
proxy_src := $(wildcard tests/fault/proxy/*.cpp)
# What tests of the insides of a tool are linked with.
sync_src  := $(filter-out %/main.cpp,$(wildcard tools/mmap-hashsync/*.cpp))
helped_src := tools/regions/object_region.cpp tools/regions/helper_uri.cpp tools/regions/s3/signer.cpp \
              tools/regions/web/answer.cpp tools/regions/redis/reply.cpp tools/regions/cql/frame.cpp
reel_src  := $(wildcard tools/regions/reel/*.cpp)
dl_src    := $(filter-out %/main.cpp,$(wildcard tools/ram-dl/*.cpp)) tools/nbd-attach/table.cpp
# What the parsers need, which is compiled once more, with sanitizers; if it is not enough, the linker says so.
parser_src := $(wildcard $(addprefix libcommon/,base/*.cpp device/uffd_*.cpp net/nbd_*.cpp net/noise_*.cpp net/r3_*.cpp \
                net/*key*.cpp storage/cached_*.cpp storage/pull_hint*.cpp)) \
              $(patsubst %,libcommon/net/%.cpp,address channel region_text secret secure_stream stream uri) \
              $(patsubst %,libcommon/storage/%.cpp,backend chunked memory pull_list ranges)
sync_parser_src := $(patsubst %,tools/mmap-hashsync/%.cpp,batch destination directory file_view frame hash_table hashing \
                     in_place journal journal_files journaled landing_file link pace receiver scan sigbus snapshot)
leech_src := tools/r3-leech/decision.cpp tools/r3-leech/rhythm.cpp
objects    = $(patsubst %.cpp,$(BUILD)/%.o,$(1))
lib       := $(BUILD)/libcommon.a
parsers   := $(BUILD)/fuzz/libparsers.a
binaries  := $(tools:%=$(BUILD)/%)
# https is the same program as http, and rediss as redis.
helpers   := $(patsubst %,$(BUILD)/region-%,$(regions) $(if $(filter http,$(regions)),https) \
                                             $(if $(filter redis,$(regions)),rediss))
aids      := $(patsubst %.cpp,$(BUILD)/%,$(aid_src))
loads     := $(patsubst %.cpp,$(BUILD)/%,$(bench_src))
replays   := $(patsubst tests/fuzz/%.cpp,$(BUILD)/fuzz/%,$(fuzz_src))

# All processors, unless -j says otherwise.
ifeq ($(MAKELEVEL),0)
given_jobs := $(filter -j%,$(MAKEFLAGS))
MAKEFLAGS += $(if $(given_jobs),,-j$(shell nproc))
endif

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all aids loads replays check test run-tests demo bench fuzz deb completions install uninstall clean

all: $(binaries) $(helpers)
	@$(foreach t,$(filter-out $(tools),$(all_tools)),echo "$(t) is left out: it needs liblmdb-dev (scripts/install-deps build)";)
	@$(foreach r,$(filter-out $(regions),$(all_regions)),echo "region-$(r) is left out: it needs its library and libseccomp (scripts/install-deps build)";)
aids: $(aids)
loads: $(loads)
replays: $(replays)

$(lib): $(call objects,$(lib_src))
$(parsers): $(call objects,$(parser_src))
$(lib) $(parsers):
	@mkdir -p $(@D)
	rm -f $@ && $(AR) crs $@ $^

$(BUILD)/%.o: %.cpp
	@mkdir -p $(@D)
	$(CXX) $(CPPFLAGS) $(CXXFLAGS) -MMD -MP -c $< -o $@

# tapisk is a managed mount, as r3-mount makes it, over a tape.
shares_tapisk := $(filter-out %/main.cpp,$(wildcard tools/r3-mount/*.cpp)) $(reel_src)
libs_tapisk   := $(libs_tape)

define tool_rule
$(BUILD)/$(1): $(call objects,$(wildcard tools/$(1)/*.cpp) $(shares_$(1))) $(lib)
	$$(CXX) $$(LDFLAGS) $$^ $$(LDLIBS) $(libs_$(1)) -o $$@
endef
$(foreach tool,$(tools),$(eval $(call tool_rule,$(tool))))

define region_rule
$(BUILD)/region-$(1): $(call objects,$(wildcard $(addsuffix /*.cpp,$(addprefix tools/regions/,$(1) $(shares_$(1))))) $(region_src)) $(lib)
	$$(CXX) $$(LDFLAGS) $$^ $$(LDLIBS) $(libs_$(1)) $(libs_confine) -o $$@
endef
$(foreach region,$(regions),$(eval $(call region_rule,$(region))))

$(BUILD)/region-https: $(BUILD)/region-http
	cp $< $@

$(BUILD)/region-rediss: $(BUILD)/region-redis
	cp $< $@

$(aids) $(loads): $(BUILD)/%: $(BUILD)/%.o $(lib)
	$(CXX) $(LDFLAGS) $(filter %.o,$^) $(lib) $(LDLIBS) -o $@

$(BUILD)/tests/bench/limits/redis_straight: LDLIBS += $(libs_redis)
$(BUILD)/tests/bench/limits/web_straight: LDLIBS += $(libs_http)
$(BUILD)/tests/fault/faultproxy: $(call objects,$(proxy_src))

# What every unit test begins with is read once, and the compiler's time is spent on what is tested.
unit_head  := $(BUILD)/tests/unit/head.h
unit_flags := -O1
export CCACHE_SLOPPINESS ?= pch_defines,time_macros
$(unit_head).gch: tests/unit/head.h
	@mkdir -p $(@D)
	cp $< $(unit_head)
	$(CXX) $(CPPFLAGS) $(CXXFLAGS) $(unit_flags) -x c++-header $(unit_head) -o $@
$(call objects,$(unit_src)): $(unit_head).gch
$(call objects,$(unit_src)): private CXXFLAGS += $(unit_flags) -include $(unit_head)

$(BUILD)/unit: $(call objects,$(unit_src) tests/fault/proxy/faults.cpp tests/fault/proxy/lane.cpp \
                       $(sync_src) $(helped_src) $(dl_src) $(leech_src) $(reel_src)) $(lib)
	$(CXX) $(LDFLAGS) $^ -lgtest -lgtest_main $(LDLIBS) $(libs_cql) $(libs_redis) $(libs_tape) -o $@

$(BUILD)/fuzz/%_fuzz: $(BUILD)/tests/fuzz/%_fuzz.o $(BUILD)/tests/fuzz/replay.o $(parsers)
	$(CXX) $(LDFLAGS) $(filter %.o,$^) $(parsers) $(LDLIBS) -o $@

$(BUILD)/fuzz/hashsync_fuzz $(BUILD)/fuzzer/hashsync_fuzz: $(call objects,$(sync_parser_src))
$(BUILD)/fuzz/cql_frame_fuzz $(BUILD)/fuzzer/cql_frame_fuzz: $(call objects,tools/regions/cql/frame.cpp)
$(BUILD)/fuzz/cql_frame_fuzz $(BUILD)/fuzzer/cql_frame_fuzz: LDLIBS += $(libs_cql)
$(BUILD)/fuzz/redis_reply_fuzz $(BUILD)/fuzzer/redis_reply_fuzz: $(call objects,tools/regions/redis/reply.cpp)
$(BUILD)/fuzz/redis_reply_fuzz $(BUILD)/fuzzer/redis_reply_fuzz: LDLIBS += $(libs_redis)
$(BUILD)/fuzz/web_answer_fuzz $(BUILD)/fuzzer/web_answer_fuzz: $(call objects,tools/regions/web/answer.cpp \
  tools/regions/object_region.cpp tools/regions/helper_uri.cpp)
$(BUILD)/fuzz/tape_fuzz $(BUILD)/fuzzer/tape_fuzz: $(call objects,$(reel_src))
$(BUILD)/fuzz/tape_fuzz $(BUILD)/fuzzer/tape_fuzz: LDLIBS += $(libs_tape)

# The corpora are replayed under sanitizers in every check.
checked_replays := $(if $(SAN),$(BUILD),build-address-undefined)
STAGES          ?= unit cli fuzz model

check:
	+$(MAKE) WERROR=1 run-tests

# With CASSANDRA=1 the tests on a real Apache Cassandra run too: two minutes more; with LONG=1 those of fail-overs.
test:
	scripts/install-deps build test vm deb $(if $(CASSANDRA),cassandra)
	+$(MAKE) WERROR=1 STAGES="$(STAGES) system vm" run-tests

# How much memory a sanitizer takes is not ours to answer for.
run-tests: all aids $(BUILD)/unit
	+$(MAKE) $(if $(SAN),,SAN=address,undefined OPT='-O1 -g1') BUILD=$(checked_replays) replays
	SAN=$(SAN) BIN=$(BUILD) FUZZ=$(checked_replays) LEAVE_OUT=$(if $(SAN),memory) tests/run $(STAGES)

demo:
	scripts/install-deps build demo
	+$(MAKE) $(BUILD)/nbd-serve $(BUILD)/r3-mount $(BUILD)/tests/fault/faultproxy
	BIN=$(BUILD) scripts/demo

bench:
	scripts/install-deps build bench vm
	+$(MAKE) all aids $(loads) $(BUILD)/tests/bench/grpc/grpc-load
	BIN=$(BUILD) tests/bench/run

# Looks for new inputs with clang's fuzzer, FUZZ_TIME seconds for each parser.
FUZZ_TIME ?= 60
fuzz:
	scripts/install-deps build fuzz
	+$(MAKE) CXX=clang++ SAN=address,undefined,fuzzer-no-link BUILD=build-fuzz $(fuzz_src:tests/fuzz/%.cpp=build-fuzz/fuzzer/%)
	for f in $(fuzz_src:tests/fuzz/%_fuzz.cpp=%); do mkdir -p build-fuzz/found/$$f && \
	  build-fuzz/fuzzer/$${f}_fuzz -max_total_time=$(FUZZ_TIME) build-fuzz/found/$$f tests/fuzz/corpus/$$f || exit 1; done

$(BUILD)/fuzzer/%: $(BUILD)/tests/fuzz/%.o $(parsers)
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS) -fsanitize=fuzzer $(filter %.o,$^) $(parsers) $(LDLIBS) -o $@

# The peer that r3 is measured against.
grpc_pb := $(BUILD)/tests/bench/grpc/read_at
$(grpc_pb).pb.cc: tests/bench/grpc/read_at.proto
	@mkdir -p $(@D)
	protoc -I $(<D) --cpp_out=$(@D) --grpc_out=$(@D) --plugin=protoc-gen-grpc=$$(command -v grpc_cpp_plugin) $<

$(BUILD)/tests/bench/grpc/grpc-load: tests/bench/grpc/grpc-load.cpp $(grpc_pb).pb.cc
	$(CXX) -std=c++20 $(OPT) -pthread -I $(@D) $< $(grpc_pb).pb.cc $(grpc_pb).grpc.pb.cc \
	  $$(pkg-config --cflags --libs grpc++ protobuf) -o $@

# Debian packages, in build/deb.
deb:
	scripts/install-deps build deb
	scripts/make-deb build/deb

completions: all
	BIN=$(BUILD) scripts/gen-completions completions

header_dirs := base storage net device
install: all
	install -d $(addprefix $(DESTDIR),$(BINDIR) $(LIBEXECDIR) $(LIBDIR) $(MANDIR)/man1 $(MANDIR)/man7)
	install -d $(addprefix $(DESTDIR),$(SYSTEMDDIR) $(BASHCOMPDIR) $(ZSHCOMPDIR) $(FISHCOMPDIR))
	install $(binaries) $(DESTDIR)$(BINDIR)
	$(if $(helpers),install $(helpers) $(DESTDIR)$(LIBEXECDIR))
	install -m 644 $(lib) $(DESTDIR)$(LIBDIR)/libr3common.a
	for s in 1 7; do install -m 644 man/*.$$s $(DESTDIR)$(MANDIR)/man$$s || exit 1; done
	for u in $(units); do sed 's|@BINDIR@|$(BINDIR)|' $$u >$(DESTDIR)$(SYSTEMDDIR)/$${u##*/} || exit 1; done
	install -m 644 completions/bash/* $(DESTDIR)$(BASHCOMPDIR)
	install -m 644 completions/zsh/* $(DESTDIR)$(ZSHCOMPDIR)
	install -m 644 completions/fish/* $(DESTDIR)$(FISHCOMPDIR)
	for d in $(header_dirs); do install -d $(DESTDIR)$(INCLUDEDIR)/libcommon/$$d && \
	  install -m 644 libcommon/$$d/*.hpp $(DESTDIR)$(INCLUDEDIR)/libcommon/$$d || exit 1; done
	install -m 644 libcommon/device/*.h $(DESTDIR)$(INCLUDEDIR)/libcommon/device

# Takes away what install of the same version has put there.
uninstall:
	rm -f $(addprefix $(DESTDIR)$(BINDIR)/,$(tools)) $(DESTDIR)$(LIBDIR)/libr3common.a
	rm -f $(foreach s,1 7,$(patsubst man/%,$(DESTDIR)$(MANDIR)/man$(s)/%,$(wildcard man/*.$(s))))
	rm -f $(patsubst completions/bash/%,$(DESTDIR)$(BASHCOMPDIR)/%,$(wildcard completions/bash/*)) \
	  $(patsubst completions/zsh/%,$(DESTDIR)$(ZSHCOMPDIR)/%,$(wildcard completions/zsh/*)) \
	  $(patsubst completions/fish/%,$(DESTDIR)$(FISHCOMPDIR)/%,$(wildcard completions/fish/*))
	rm -f $(addprefix $(DESTDIR)$(SYSTEMDDIR)/,$(notdir $(units)))
	rm -rf $(DESTDIR)$(INCLUDEDIR) $(DESTDIR)$(LIBEXECDIR)

clean:
	rm -rf build build-*

-include $(patsubst %.cpp,$(BUILD)/%.d,$(lib_src) $(unit_src) $(fuzz_src) $(aid_src) $(bench_src) $(proxy_src) \
           tests/fuzz/replay.cpp $(wildcard tools/*/*.cpp tools/regions/*/*.cpp))
