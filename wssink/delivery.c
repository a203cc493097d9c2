#include "wssink/delivery.h"

#include "stage/log.h"
#include "wssink/wsframe.h"

#include <inttypes.h>
#include <stdio.h>

/* That many connections in a row may end upon what is sent again. */
#define VAIN_REPLAYS 10

int
delivery_open(struct delivery *delivery, const struct delivery_options *options)
{
	struct wslink *link = wslink_new(&options->link);
	int64_t now = loop_now_ns();

	if (link == NULL)
		return -1;
	*delivery = (struct delivery){
	    .options = options,
	    .link = link,
	    .confirmed_ns = now,
	    .since_ns = now,
	    .seen = WSLINK_DOWN,
	    .wake_ns = LOOP_NEVER,
	};
	window_init(&delivery->window, options->replay);
	retry_init(&delivery->retry, options->link.url.shown,
	    options->backoff_max_ms, now);
	poison_init(&delivery->poison);
	pace_init(&delivery->pace, options->rate);
	return 0;
}

void
delivery_close(struct delivery *delivery)
{
	wslink_free(delivery->link);
	window_fini(&delivery->window);
	retry_fini(&delivery->retry);
}

uint64_t
delivery_unended(const struct delivery *delivery)
{
	return delivery->window.taken - delivery->window.ended;
}

/* Takes the confirmed messages off the window. Returns whether there were any.
 */
static bool
take_confirmed(struct delivery *delivery)
{
	uint64_t n =
	    wslink_confirmed(delivery->link) - delivery->ended_messages;
	uint64_t again = n < delivery->replayed ? n : delivery->replayed;
	uint64_t dropped =
	    n - again < delivery->dropped ? n - again : delivery->dropped;

	/* After a loss the count is that of a connection long over. */
	if (delivery->seen == WSLINK_DOWN || n == 0)
		return false;
	delivery->ended_messages += n;
	delivery->replayed -= again;
	delivery->dropped -= dropped;
	if (again > 0 && delivery->replayed == 0)
		delivery->owes_replay = false;
	if (n == again)
		return true;
	delivery->is_replay = false;
	delivery->vain_replays = 0;
	n -= again + dropped;
	if (n == 0)
		return true;
	delivery->confirmed_ns = loop_now_ns();
	meter_add(&delivery->meter, n, delivery->confirmed_ns);
	window_end(&delivery->window, n);
	delivery->confirmed += n;
	poison_confirmed(&delivery->poison, delivery->window.ended);
	return true;
}

/* Says whether the server may have lost what it had confirmed: it did not end
 * the connection in good order. */
static bool
is_abnormal(const struct wslink *link)
{
	unsigned code = wslink_code(link);

	if (wslink_end(link) != WSLINK_END_CLOSED)
		return wslink_end(link) != WSLINK_END_NEVER_OPEN;
	return code != WSFRAME_NORMAL && code != WSFRAME_GOING_AWAY &&
	       code != WSFRAME_RESTART && code != WSFRAME_NO_CODE;
}

/* Finds what the end of the connection says of an event. Returns false if it
 * says nothing: neither the server ended it, nor what it sent. */
static bool
find_poison_end(const struct wslink *link, enum poison_end *end)
{
	if (wslink_end(link) == WSLINK_END_HUNG_UP) {
		*end = POISON_HANG_UP;
		return true;
	}
	*end = POISON_OTHER;
	if (wslink_end(link) != WSLINK_END_CLOSED)
		return wslink_end(link) == WSLINK_END_BROKEN;
	switch (wslink_code(link)) {
	case WSFRAME_BAD_DATA:
	case WSFRAME_TOO_BIG:
		*end = POISON_MESSAGE;
		break;
	case WSFRAME_POLICY:
		*end = POISON_POLICY;
		break;
	default:
		break;
	}
	return true;
}

/* Holds the end of the connection against the first event on it. */
static void
suspect_first(struct delivery *delivery)
{
	struct window *window = &delivery->window;
	uint64_t first = window->ended + 1;
	/* Behind what is sent again it is not alone: the server may have died
	 * late of an event that it had confirmed. */
	bool is_alone = delivery->is_alone && !delivery->is_replay;
	enum poison_end end;

	/* Of what was dropped each may be the cause. */
	if (window->next <= window->ended || delivery->dropped > 0 ||
	    !find_poison_end(delivery->link, &end))
		return;
	switch (poison_ended(&delivery->poison, first, window->next, end,
	    loop_now_ns() - delivery->first_ns, is_alone)) {
	case POISON_AGAIN:
		break;
	case POISON_ISOLATE:
		log_warn("connections end at event %" PRIu64
			 ", or behind it: sending events one by one",
		    first);
		break;
	case POISON_REFUSE:
		delivery->refused = first;
		(void)snprintf(delivery->why, sizeof(delivery->why),
		    "each time, and alone at last: %s",
		    wslink_why(delivery->link));
		log_warn("event %" PRIu64 " refused: %s", first, delivery->why);
		/* It was this one, and not what is sent again. */
		delivery->vain_replays = 0;
		window_refuse_first(window);
		break;
	}
}

/* There is no connection any more, or none was to be had. */
static void
take_loss(struct delivery *delivery)
{
	bool is_quiet = delivery->is_leaving;

	delivery->was_lost = true;
	if (!is_quiet)
		suspect_first(delivery);
	if (is_abnormal(delivery->link)) {
		delivery->owes_replay = true;
		delivery->vain_replays +=
		    delivery->is_replay && wslink_was_answered(delivery->link);
	}
	delivery->is_replay = false;
	delivery_drop_disowned(delivery);
	window_rewind(&delivery->window);
	retry_lost(&delivery->retry, wslink_why(delivery->link),
	    wslink_retry_after_ms(delivery->link), is_quiet, loop_now_ns());
}

/* Drops all that has not ended, and was numbered up to `last`. */
static void
drop_all(struct delivery *delivery, uint64_t last)
{
	delivery->dropped += window_drop_all(&delivery->window);
	delivery->is_alone = false;
	delivery->disowned = 0;
	poison_renumber(&delivery->poison, last, delivery->window.taken);
}

void
delivery_drop_disowned(struct delivery *delivery)
{
	if (delivery->disowned > delivery->window.ended)
		drop_all(delivery, delivery->disowned);
}

void
delivery_disown(struct delivery *delivery)
{
	struct window *window = &delivery->window;
	uint64_t last;

	(void)take_confirmed(delivery);
	last = delivery->disowned > window->ended ? delivery->disowned
						  : window->ended;
	if (wslink_state(delivery->link) != WSLINK_OPEN) {
		drop_all(delivery, last);
		return;
	}
	window_drop_rest(window);
	delivery->disowned = window->taken;
	poison_renumber(&delivery->poison, last, window->taken);
}

/* Gives the events again that the server may have lost, if there are any. */
static void
start_replay(struct delivery *delivery)
{
	if (!delivery->owes_replay)
		return;
	if (delivery->vain_replays < VAIN_REPLAYS) {
		delivery->replayed = window_rewind_kept(&delivery->window);
	} else if (delivery->vain_replays == VAIN_REPLAYS) {
		log_warn("confirmed events are not sent again: connections "
			 "end upon them");
		delivery->vain_replays++;
	}
	delivery->is_replay = delivery->replayed > 0;
	delivery->owes_replay = delivery->is_replay;
}

static void
dial(struct delivery *delivery)
{
	delivery->ended_messages = 0;
	delivery->replayed = 0;
	delivery->dropped = 0;
	delivery->is_alone = false;
	start_replay(delivery);
	retry_dialed(&delivery->retry);
	wslink_dial(delivery->link);
	delivery->seen = WSLINK_CONNECTING;
	delivery->since_ns = loop_now_ns();
}

/* Follows the link's state. */
static void
take_state(struct delivery *delivery, enum wslink_state state)
{
	/* What the last turn confirmed counts, lost or not. */
	(void)take_confirmed(delivery);
	delivery->seen = state;
	if (state != WSLINK_UPGRADING)
		delivery->since_ns = loop_now_ns();
	if (state == WSLINK_OPEN) {
		delivery->connects++;
		delivery->first_ns = loop_now_ns();
		retry_opened(&delivery->retry, delivery->first_ns);
	}
	if (state == WSLINK_DOWN)
		take_loss(delivery);
}

bool
delivery_is_due(const struct delivery *delivery)
{
	/* One that was lost, and is not followed yet, is waited after. */
	return delivery->seen == WSLINK_DOWN &&
	       wslink_state(delivery->link) == WSLINK_DOWN &&
	       !delivery->is_leaving &&
	       loop_now_ns() >= delivery->retry.next_ns;
}

uint64_t
delivery_follow(struct delivery *delivery, const char **why)
{
	enum wslink_state state = wslink_state(delivery->link);
	uint64_t refused;

	if (state != delivery->seen)
		take_state(delivery, state);
	if (delivery_is_due(delivery))
		dial(delivery);
	*why = delivery->why;
	refused = delivery->refused;
	delivery->refused = 0;
	return refused;
}

/* Says whether the pace allows an event now; else sets wake_ns. */
static bool
is_paced(struct delivery *delivery)
{
	if (delivery->options->rate == 0 ||
	    delivery->window.next == delivery->window.taken ||
	    pace_is_due(&delivery->pace, loop_now_ns()))
		return true;
	delivery->wake_ns = pace_wake_ns(&delivery->pace);
	return false;
}

/* Says whether a ping was answered on the connection; else asks for one. */
static bool
is_answering(struct delivery *delivery)
{
	if (wslink_was_answered(delivery->link))
		return true;
	wslink_probe(delivery->link);
	return false;
}

/* Says whether the connection has held for so long that what is sent alone now
 * can be what ends it; else sets wake_ns. */
static bool
has_held(struct delivery *delivery)
{
	int64_t at_ns =
	    delivery->retry.opened_ns + poison_hold_ns(&delivery->poison);

	if (loop_now_ns() >= at_ns)
		return true;
	delivery->wake_ns = at_ns;
	return false;
}

/* Says whether the next event may be sent now. */
static bool
may_send(struct delivery *delivery)
{
	bool is_again = delivery->window.next < delivery->window.ended;
	bool is_careful = poison_is_careful(&delivery->poison) && !is_again;

	if (!wslink_has_room(delivery->link))
		return false;
	/* What is sent again was confirmed first, or it may be the cause. */
	if (is_careful && (delivery->window.next > delivery->window.ended ||
			      delivery->replayed > 0 || delivery->dropped > 0))
		return false;
	if ((is_again || is_careful) && !is_answering(delivery))
		return false;
	if (is_careful && !has_held(delivery))
		return false;
	return is_paced(delivery);
}

static void
send_event(struct delivery *delivery, const uint8_t *payload, size_t bytes)
{
	wslink_send(delivery->link, payload, bytes);
	if (delivery->options->rate > 0)
		pace_take(&delivery->pace, loop_now_ns());
	delivery->is_alone = poison_is_careful(&delivery->poison);
	if (delivery->is_alone)
		delivery->first_ns = loop_now_ns();
}

bool
delivery_send(struct delivery *delivery)
{
	const uint8_t *payload;
	size_t bytes;
	bool is_flushed, is_more;

	delivery->wake_ns = LOOP_NEVER;
	do {
		is_more = true;
		while (is_more && may_send(delivery)) {
			is_more =
			    window_next(&delivery->window, &payload, &bytes);
			if (is_more)
				send_event(delivery, payload, bytes);
		}
		is_flushed = wslink_flush(delivery->link);
	} while (is_flushed && is_more && may_send(delivery));
	return take_confirmed(delivery);
}

void
delivery_watch(struct delivery *delivery, struct loop *loop)
{
	wslink_watch(delivery->link, loop);
	/* It has passed, and means nothing any more. */
	if (delivery->is_leaving)
		return;
	loop_until(loop, delivery->wake_ns);
	if (wslink_state(delivery->link) == WSLINK_DOWN)
		loop_until(loop, delivery->retry.next_ns);
}

void
delivery_turn(struct delivery *delivery, const struct loop *loop)
{
	wslink_turn(delivery->link, loop);
}

void
delivery_leave(struct delivery *delivery, unsigned code, uint64_t wait_ms)
{
	delivery->is_leaving = true;
	wslink_close(delivery->link, code, wait_ms);
	if (wslink_state(delivery->link) != delivery->seen)
		delivery->since_ns = loop_now_ns();
}
