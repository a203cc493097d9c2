#include "walproc/print.h"

#include "stage/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

static const char *const words[] = {
    [CHECK_DAMAGED] = "damaged",
    [CHECK_UNREADABLE] = "unreadable",
    [CHECK_MISSING] = "missing",
    [CHECK_BYTES] = "damaged, no event lost",
    [CHECK_HEADER] = "a copy of the header is damaged",
    [CHECK_FILE] = "file",
    [CHECK_CURSOR] = "lost",
    [CHECK_COUNTS] = "damaged",
    [CHECK_KNOWN] = "missing, and known to be",
    [CHECK_SLOT] = "as a crash may leave it",
    [CHECK_UNPROVEN] = "not proven durable: the next start settles them",
    [CHECK_TORN] = "torn tail, as a crash may leave it",
};

_Static_assert(
    sizeof(words) / sizeof(words[0]) == CHECK_KINDS, "a word for each kind");

void
print_finding(const struct check_finding *finding)
{
	char name[SEGMENT_NAME_BYTES] = "log";

	/* What is missing has no bytes, wherever that was noticed. */
	if (finding->segment_seq != 0 && finding->kind != CHECK_MISSING &&
	    finding->kind != CHECK_KNOWN)
		segment_name(name, finding->segment_seq);
	if (finding->kind == CHECK_CURSOR || finding->kind == CHECK_SLOT ||
	    finding->kind == CHECK_COUNTS)
		(void)snprintf(name, sizeof(name), "cursor");
	(void)printf(
	    "%s%s: ", check_is_damage(finding->kind) ? "" : "note: ", name);
	if (finding->from != finding->to)
		(void)printf("bytes %" PRIu64 "-%" PRIu64 ": ", finding->from,
		    finding->to - 1);
	if (finding->count > 0)
		(void)printf("events %" PRIu64 "-%" PRIu64 " (%" PRIu64 "): ",
		    finding->seq, finding->seq + finding->count - 1,
		    finding->count);
	if (finding->kind == CHECK_FILE)
		(void)printf("%s", finding->what);
	else if (finding->what != NULL)
		(void)printf("%s, %s", words[finding->kind], finding->what);
	else
		(void)printf("%s", words[finding->kind]);
	if (finding->ended > 0 && finding->ended == finding->count)
		(void)printf(", ended before");
	else if (finding->ended > 0)
		(void)printf(
		    ", %" PRIu64 " of them ended before", finding->ended);
	(void)printf("\n");
}

void
print_result(const struct check_result *result)
{
	uint64_t places = 0;

	for (int kind = 0; kind < CHECK_KINDS; kind++)
		if (check_is_damage((enum check_kind)kind))
			places += result->counts[kind];
	(void)printf("%s: %" PRIu64 " segments, %" PRIu64 " events sound",
	    result->is_damaged ? "damaged" : "sound", result->segments,
	    result->sound);
	if (result->is_damaged)
		(void)printf(", %" PRIu64 " lost; %" PRIu64 " places damaged",
		    result->lost, places);
	(void)printf("\n");
}

enum exitcode
print_flush(void)
{
	errno = 0;
	if (fflush(stdout) == 0 && !ferror(stdout))
		return EXITCODE_DONE;
	/* Why it failed earlier is forgotten: another try tells. */
	if (errno == 0 && write(STDOUT_FILENO, "\n", 1) == 1)
		errno = EIO;
	if (errno == EPIPE)
		return EXITCODE_DONE;
	log_error("standard output: %m");
	return EXITCODE_AGAIN;
}
