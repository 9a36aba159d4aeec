"""The demo's placements: where slates of films are shown, and how they are made. Its registry is what the demo serves.

A film's vector in the index `genres` says which genres it has, so that it can be compared with a user's taste.
"""

from recsvc import Catalogue, Diversity, Nearest, Placement, Popular, Registry, SimilarToRecent, SimilarToSeeds
from recsvc.demo.definitions import FILM, USER
from recsvc.demo.definitions import registry as features

FILMS = Catalogue(
    "films",
    item=FILM,
    popularity="film_stats:popularity",
    category="film:genres",
    filterable=["film:genres", "film:release_year", "film_stats:rating_mean"],
)

HOME = Placement(
    "home",
    catalogue="films",
    user=USER,
    sources=[
        Nearest("taste", index="genres", query="taste:genre_preference", candidates=150),
        SimilarToSeeds("seeds", index="genres", weight=2.0, candidates=150),
        SimilarToRecent("recent", index="genres", recent="activity:recent_items", last=5, weight=0.5, candidates=100),
        Popular("popular", pool=200, candidates=100),
    ],
    # What the user rated of late is left out before films are looked for, the rest before the slate is made.
    seen=["activity:recent_items"],
    seen_pairs=["rated:rated"],
    cap=3,
    diversity=Diversity("genres", weight=0.3),
)

registry = Registry(
    views=features.definitions.views,
    on_demand=features.definitions.on_demand,
    services=features.definitions.services,
    request=features.definitions.request,
    catalogues=[FILMS],
    placements=[HOME],
)
