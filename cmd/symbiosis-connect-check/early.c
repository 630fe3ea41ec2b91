/* The answer to "db --database FILE ADDRESS" before Go's runtime starts.
 *
 * Exim without a lookup of its own runs this program at every connection, and
 * what it costs is starting up: Go's runtime and the initialisation of the
 * packages linked in take several times as long as the query. A constructor
 * runs before all of that.
 *
 * It knows the plain case only. Whatever it is not sure of (an option, a
 * spelling of an address, anything that SQLite reports), it leaves to the Go
 * code, which does it all again and knows how to complain. So there is nothing
 * here that the Go code does not do, and a test compares the two.
 */
#include "early.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* SQLite is linked in by the Go driver, which does not hand its header out.
 * These are stable parts of its interface. Weak, so that this file can also be
 * linked alone, as the build does once to look at it. */
typedef struct sqlite3 sqlite3;
typedef struct sqlite3_stmt sqlite3_stmt;
#define WEAK __attribute__((weak))
extern int sqlite3_open_v2(const char *, sqlite3 **, int, const char *) WEAK;
extern int sqlite3_prepare_v2(sqlite3 *, const char *, int, sqlite3_stmt **, const char **) WEAK;
extern int sqlite3_bind_text(sqlite3_stmt *, int, const char *, int, void (*)(void *)) WEAK;
extern int sqlite3_step(sqlite3_stmt *) WEAK;
extern int sqlite3_column_type(sqlite3_stmt *, int) WEAK;
extern long long sqlite3_column_int64(sqlite3_stmt *, int) WEAK;
extern int sqlite3_finalize(sqlite3_stmt *) WEAK;
extern int sqlite3_close(sqlite3 *) WEAK;
enum { OPEN_READONLY = 0x1, OPEN_NOMUTEX = 0x8000, OK = 0, ROW = 100, INTEGER = 1 };

/* Long enough for any key: "ffff:ffff:ffff:ffff::/64". */
#define KEY_SIZE 32

/* The key under which the database counts the host: package address does this
 * in Go. Returns 0 for a spelling that is not the plain one. */
int early_key(const char *addr, char *key)
{
	unsigned char a[16];
	static const unsigned char mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
	const unsigned char *v4 = NULL;

	if (inet_pton(AF_INET, addr, a) == 1)
		v4 = a;
	else if (inet_pton(AF_INET6, addr, a) != 1)
		return 0;
	else if (memcmp(a, mapped, sizeof mapped) == 0)
		v4 = a + 12;
	if (v4 != NULL) {
		snprintf(key, KEY_SIZE, "%d.%d.%d.%d", v4[0], v4[1], v4[2], v4[3]);
		return 1;
	}
	/* The last four groups are zero, so the longest run of zeros, which RFC
	 * 5952 shortens to "::", is the one at the end. */
	int groups = 4, n = 0;
	while (groups > 0 && a[2 * groups - 2] == 0 && a[2 * groups - 1] == 0)
		groups--;
	for (int i = 0; i < groups; i++)
		n += snprintf(key + n, KEY_SIZE - n, i == 0 ? "%x" : ":%x", a[2 * i] << 8 | a[2 * i + 1]);
	snprintf(key + n, KEY_SIZE - n, "::/64");
	return 1;
}

/* The sum for key, in *sum. Returns 0 for whatever is not plain success. */
static int early_sum(const char *database, const char *key, long long *sum)
{
	struct stat st;
	sqlite3 *db = NULL;
	sqlite3_stmt *stmt = NULL;

	/* SQLite would wait for ever on a pipe. */
	if (sqlite3_open_v2 == NULL || stat(database, &st) != 0 || !S_ISREG(st.st_mode))
		return 0;
	int ok = sqlite3_open_v2(database, &db, OPEN_READONLY | OPEN_NOMUTEX, NULL) == OK
		&& sqlite3_prepare_v2(db, "select coalesce(sum(count),0) from blacklist where ip=?", -1, &stmt, NULL) == OK
		&& sqlite3_bind_text(stmt, 1, key, -1, NULL) == OK
		&& sqlite3_step(stmt) == ROW
		&& sqlite3_column_type(stmt, 0) == INTEGER;
	if (ok)
		*sum = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	return ok;
}

__attribute__((constructor))
static void early(int argc, char **argv)
{
	char key[KEY_SIZE], line[32];
	long long sum;

	if (argc != 5 || strcmp(argv[1], "db") != 0 || strcmp(argv[2], "--database") != 0)
		return;
	if (!early_key(argv[4], key) || !early_sum(argv[3], key, &sum))
		return;
	int n = snprintf(line, sizeof line, "%lld\n", sum);
	if (write(STDOUT_FILENO, line, n) != n)
		return;
	_exit(0);
}
