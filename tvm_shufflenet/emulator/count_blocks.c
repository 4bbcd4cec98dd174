/* A QEMU plugin (plugin API v1, user-mode emulation) that counts what a region of a guest executes.
 *
 * Every translation block is counted by an inline add. The guest marks its region by a syscall
 * number that no kernel knows (outside of QEMU it answers ENOSYS and nothing happens):
 *
 *   syscall(MARK, MARK_KEY, 1, 0)    start: all counters become zero
 *   syscall(MARK, MARK_KEY, 2, tag)  stop, and write every executed block to OUT.<tag>.blocks
 *   syscall(MARK, MARK_KEY, 3, tag)  stop, and write only the totals to OUT.<tag>.blocks
 *
 * The first line of the file is "totals INSTRUCTIONS L1_MISSES L2_MISSES"; each other line is
 * "ADDRESS EXECUTIONS CODE", the address and the code words in hexadecimal.
 *
 * Arguments: out=PATH, and for a data-cache model l1_kib= l1_ways= l2_kib= l2_ways= .
 * Counts are exact for one guest thread only: inline adds are not atomic.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The slice of QEMU's qemu-plugin.h that is used; Debian ships the header only with the system
 * emulators. */
typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
struct qemu_info;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
enum qemu_plugin_mem_rw { QEMU_PLUGIN_MEM_R = 1, QEMU_PLUGIN_MEM_W, QEMU_PLUGIN_MEM_RW };
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };
typedef void (*tb_callback)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*memory_callback)(unsigned, qemu_plugin_meminfo_t, uint64_t, void *);
typedef void (*syscall_callback)(qemu_plugin_id_t, unsigned, int64_t, uint64_t, uint64_t, uint64_t,
                                 uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, tb_callback);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, enum qemu_plugin_op, void *,
                                              uint64_t);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *, memory_callback,
                                      enum qemu_plugin_cb_flags, enum qemu_plugin_mem_rw, void *);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t, syscall_callback);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
unsigned qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 1;

enum { MARK = 0x5351, MARK_KEY = 0x7bc0de };
enum { START = 1, STOP_WITH_BLOCKS = 2, STOP_WITH_TOTALS = 3 };
enum { BUCKET_BITS = 18, MOST_WORDS = 1024, LINE_SHIFT = 6 };

typedef struct block {
  uint64_t address, executions;
  size_t words;
  uint32_t *code;
  struct block *next_in_bucket, *next;
} block;

/* A cache with least-recently-used replacement; stores allocate. Addresses are virtual. */
typedef struct {
  uint64_t sets, ways, clock, misses;
  uint64_t *lines, *used;
} cache;

static block *buckets[1 << BUCKET_BITS];
static block *blocks;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char out[512] = "count";
static cache l1, l2;
static bool has_caches, counting;

static bool make_cache(cache *c, uint64_t kib, uint64_t ways) {
  if (!kib || !ways || (kib << 10 >> LINE_SHIFT) % ways) return false;
  c->sets = (kib << 10 >> LINE_SHIFT) / ways;
  c->ways = ways;
  c->lines = malloc(c->sets * ways * sizeof *c->lines);
  c->used = calloc(c->sets * ways, sizeof *c->used);
  if (!c->lines || !c->used) return false;
  memset(c->lines, 0xff, c->sets * ways * sizeof *c->lines); /* no line has this number */
  return (c->sets & (c->sets - 1)) == 0;
}

static bool hits(cache *c, uint64_t line) {
  uint64_t *lines = c->lines + (line & (c->sets - 1)) * c->ways;
  uint64_t *used = c->used + (line & (c->sets - 1)) * c->ways;
  size_t oldest = 0;
  c->clock++;
  for (size_t way = 0; way < c->ways; way++) {
    if (lines[way] == line) {
      used[way] = c->clock;
      return true;
    }
    if (used[way] < used[oldest]) oldest = way;
  }
  lines[oldest] = line;
  used[oldest] = c->clock;
  c->misses++;
  return false;
}

/* The caches are kept warm outside of the region as well: it starts with what the guest left. */
static void on_access(unsigned cpu, qemu_plugin_meminfo_t access, uint64_t address, void *unused) {
  uint64_t bytes = 1u << qemu_plugin_mem_size_shift(access);
  uint64_t last = (address + bytes - 1) >> LINE_SHIFT;
  for (uint64_t line = address >> LINE_SHIFT; line <= last; line++)
    if (!hits(&l1, line)) hits(&l2, line);
}

static block *find_block(uint64_t address, const uint32_t *code, size_t words) {
  uint64_t bucket = ((address >> 2) * 0x9e3779b97f4a7c15u) >> (64 - BUCKET_BITS);
  block *b = buckets[bucket];
  while (b && (b->address != address || b->words != words || memcmp(b->code, code, 4 * words)))
    b = b->next_in_bucket;
  if (b) return b;
  b = calloc(1, sizeof *b);
  if (!b || !(b->code = malloc(4 * words))) abort();
  memcpy(b->code, code, 4 * words);
  b->address = address;
  b->words = words;
  b->next_in_bucket = buckets[bucket];
  buckets[bucket] = b;
  b->next = blocks;
  blocks = b;
  return b;
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
  uint32_t code[MOST_WORDS]; /* QEMU ends a block after 512 instructions */
  size_t words = qemu_plugin_tb_n_insns(tb);
  if (words > MOST_WORDS) abort();
  for (size_t i = 0; i < words; i++) {
    struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(tb, i);
    memcpy(&code[i], qemu_plugin_insn_data(instruction), 4);
    if (has_caches)
      qemu_plugin_register_vcpu_mem_cb(instruction, on_access, QEMU_PLUGIN_CB_NO_REGS,
                                       QEMU_PLUGIN_MEM_RW, NULL);
  }
  pthread_mutex_lock(&lock);
  block *b = find_block(qemu_plugin_tb_vaddr(tb), code, words);
  pthread_mutex_unlock(&lock);
  qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &b->executions, 1);
}

static void start(void) {
  for (block *b = blocks; b; b = b->next) b->executions = 0;
  l1.misses = l2.misses = 0;
  counting = true;
}

static void stop(bool with_blocks, uint64_t tag) {
  char name[600];
  snprintf(name, sizeof name, "%s.%" PRIu64 ".blocks", out, tag);
  FILE *file = fopen(name, "w");
  if (!file) {
    perror(name);
    return;
  }
  uint64_t total = 0;
  for (block *b = blocks; b; b = b->next) total += b->executions * b->words;
  fprintf(file, "totals %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", total, l1.misses, l2.misses);
  for (block *b = blocks; with_blocks && b; b = b->next) {
    if (!b->executions) continue;
    fprintf(file, "%" PRIx64 " %" PRIu64 " ", b->address, b->executions);
    for (size_t i = 0; i < b->words; i++) fprintf(file, "%08x", b->code[i]);
    fputc('\n', file);
  }
  fclose(file);
  counting = false;
}

static void on_syscall(qemu_plugin_id_t id, unsigned cpu, int64_t number, uint64_t key,
                       uint64_t command, uint64_t tag, uint64_t a4, uint64_t a5, uint64_t a6,
                       uint64_t a7, uint64_t a8) {
  if (number != MARK || key != MARK_KEY) return;
  pthread_mutex_lock(&lock);
  if (command == START) start();
  else if (counting) stop(command == STOP_WITH_BLOCKS, tag);
  pthread_mutex_unlock(&lock);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int count,
                               char **arguments) {
  uint64_t l1_kib = 0, l1_ways = 0, l2_kib = 0, l2_ways = 0;
  for (int i = 0; i < count; i++) {
    char *value = strchr(arguments[i], '=');
    if (!value) continue;
    *value++ = 0;
    if (!strcmp(arguments[i], "out")) snprintf(out, sizeof out, "%s", value);
    if (!strcmp(arguments[i], "l1_kib")) l1_kib = strtoull(value, NULL, 10);
    if (!strcmp(arguments[i], "l1_ways")) l1_ways = strtoull(value, NULL, 10);
    if (!strcmp(arguments[i], "l2_kib")) l2_kib = strtoull(value, NULL, 10);
    if (!strcmp(arguments[i], "l2_ways")) l2_ways = strtoull(value, NULL, 10);
  }
  has_caches = l1_kib != 0;
  if (has_caches && (!make_cache(&l1, l1_kib, l1_ways) || !make_cache(&l2, l2_kib, l2_ways))) {
    fprintf(stderr, "count_blocks: not a cache: %" PRIu64 " KiB of %" PRIu64 " ways, %" PRIu64
            " KiB of %" PRIu64 " ways\n", l1_kib, l1_ways, l2_kib, l2_ways);
    return 1;
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
  qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
  return 0;
}
