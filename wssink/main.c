#include "stage/exitcode.h"
#include "stage/io.h"
#include "stage/log.h"
#include "stage/mem.h"
#include "stage/options.h"
#include "wssink/cmdline.h"
#include "wssink/permit.h"
#include "wssink/wssink.h"

#include <unistd.h>

/* Confines the process, if that is wanted, and runs. */
static enum exitcode
run(struct cmdline *cmdline, struct wssink *sink)
{
	enum exitcode status = EXITCODE_AGAIN;
	struct permit permit;

	if (!cmdline->sandbox)
		return wssink_run(sink);
	permit_init(
	    &permit, &cmdline->sources, &cmdline->options.delivery.link.conn);
	cmdline->options.permit = &permit;
	if (permit_enter(&permit) == 0)
		status = wssink_run(sink);
	cmdline->options.permit = NULL;
	permit_fini(&permit);
	return status;
}

/* Does what the command line says. */
static enum exitcode
obey(struct cmdline *cmdline)
{
	struct wssink *sink;
	enum exitcode status;

	log_init("wssink", cmdline->level);
	sink = wssink_open(&cmdline->options);
	if (sink == NULL)
		return EXITCODE_AGAIN;
	status = run(cmdline, sink);
	wssink_close(sink);
	return status;
}

int
main(int argc, char **argv)
{
	struct control control;
	struct cmdline cmdline;
	enum exitcode status = EXITCODE_AGAIN;
	bool is_open = io_is_open(STDIN_FILENO);

	mem_init();
	control_open(&control);
	log_init("wssink", LOG_INFO);
	if (io_claim_stdio() == -1) {
		log_error("/dev/null: %m");
		return EXITCODE_AGAIN;
	}
	cmdline_init(&cmdline, &control);
	switch (cmdline_parse(&cmdline, argc, argv)) {
	case CMDLINE_RUN:
		if (is_open) {
			status = obey(&cmdline);
			break;
		}
		log_error("standard input is closed");
		status = EXITCODE_FINAL;
		break;
	case CMDLINE_TOLD:
		status = options_answer(cmdline.answer);
		break;
	case CMDLINE_WRONG:
		status = EXITCODE_FINAL;
		break;
	case CMDLINE_LATER:
		break;
	}
	cmdline_fini(&cmdline);
	return (int)status;
}
