#include "walproc/verify.h"

#include "stage/loop.h"
#include "walproc/check.h"
#include "walproc/print.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

/* Between two lines of progress. */
#define PROGRESS_NS (LOOP_NS_PER_S / 5)

struct progress {
	int64_t next_ns; /* CLOCK_MONOTONIC before which none is shown */
	bool is_shown;	 /* a line stands on the terminal */
};

static void
clear(struct progress *progress)
{
	if (progress->is_shown)
		(void)fprintf(stderr, "\r%*s\r", 40, "");
	progress->is_shown = false;
}

static void
tell(void *context, const struct check_finding *finding)
{
	clear(context);
	print_finding(finding);
	/* As it is found: a large log takes its time. */
	if (((struct progress *)context)->next_ns != 0)
		(void)fflush(stdout);
}

static void
show(void *context, uint64_t done_bytes, uint64_t bytes)
{
	struct progress *progress = context;
	int64_t now_ns = loop_now_ns();
	uint64_t percent;

	if (now_ns < progress->next_ns)
		return;
	percent = bytes == 0 ? 100 : done_bytes / ((bytes + 99) / 100);
	if (percent > 100)
		percent = 100;
	progress->next_ns = now_ns + PROGRESS_NS;
	progress->is_shown = true;
	(void)fprintf(stderr, "\rreading: %3" PRIu64 " %%", percent);
	(void)fflush(stderr);
}

enum exitcode
verify_log(const char *path)
{
	struct progress progress = {0};
	struct check check = {
	    .tell = tell,
	    .progress = isatty(STDERR_FILENO) == 1 ? show : NULL,
	    .context = &progress,
	};
	struct check_result result;
	struct look look;
	enum exitcode exitcode = look_exitcode(look_open(&look, path));
	int done;

	if (exitcode != EXITCODE_DONE)
		return exitcode;
	done = check_log(&look, &check, &result);
	clear(&progress);
	if (done == 0)
		print_result(&result);
	if (done == 0 && look.is_running)
		(void)printf("note: a walproc runs on it: what it is writing "
			     "was not looked at\n");
	look_close(&look);
	exitcode = print_flush();
	if (exitcode != EXITCODE_DONE || done == -1)
		return EXITCODE_AGAIN;
	return result.is_damaged ? EXITCODE_DAMAGE : EXITCODE_DONE;
}
