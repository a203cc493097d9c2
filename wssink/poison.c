#include "wssink/poison.h"

#include "wssink/wsframe.h"

void
poison_init(struct poison *poison)
{
	*poison = (struct poison){0};
}

bool
poison_is_careful(const struct poison *poison)
{
	return poison->careful_until != 0;
}

void
poison_confirmed(struct poison *poison, uint64_t ended)
{
	poison->row = 0;
	if (ended >= poison->suspect)
		poison->suspect = 0;
	if (ended >= poison->careful_until)
		poison->careful_until = 0;
}

/* How often the suspect must be refused alone. */
static unsigned
needed_alone(const struct poison *poison, unsigned code)
{
	unsigned needed = code == 0 ? POISON_HANG_UPS : 1;

	if (code == WSFRAME_BAD_DATA || code == WSFRAME_TOO_BIG)
		return needed;
	for (unsigned i = POISON_ROW; i <= poison->row; i++)
		if (needed < POISON_STRIKES_MAX)
			needed *= 2;
	return needed < POISON_STRIKES_MAX ? needed : POISON_STRIKES_MAX;
}

enum poison_verdict
poison_strike(struct poison *poison, uint64_t first, uint64_t last,
    unsigned code, bool is_alone)
{
	if (poison->suspect != first) {
		poison->suspect = first;
		poison->strikes = 0;
		poison->alone = 0;
	}
	if (poison->strikes < POISON_STRIKES + POISON_STRIKES_MAX)
		poison->strikes++;
	if (is_alone)
		poison->alone++;
	if (is_alone && poison->strikes > POISON_STRIKES &&
	    poison->alone >= needed_alone(poison, code)) {
		poison->row++;
		poison->suspect = 0;
		if (first >= poison->careful_until)
			poison->careful_until = 0;
		return POISON_REFUSE;
	}
	if (poison->strikes < POISON_STRIKES || poison_is_careful(poison))
		return POISON_AGAIN;
	poison->careful_until = last;
	return POISON_ISOLATE;
}
