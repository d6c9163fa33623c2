"""How much a credential, a tenant and an address may ask for.

    RateLimits    in front of every guarded route, called by the guard: requests of a credential, of a tenant
    Window        what this process may still let through, taken from the shared count in lots
    Counters      the shared counts: in Redis, or in this process while Redis is away
    Guesses       wrong secrets for one API key from one network, counted in this process alone
    QueueLimit    in front of a submit: jobs of a tenant that wait
    Door          in front of streams and held answers: how many are open at once

No limit ever fails a request because of itself: what cannot be counted is let through, or counted here alone.
"""
