"""Words that made-up films and users are described with; any adjective and noun make a title."""

from typing import Final

# fmt: off
OCCUPATIONS: Final = (
    "administrator", "artist", "doctor", "educator", "engineer", "librarian", "none", "other", "programmer", "retired",
    "scientist", "student", "technician", "writer",
)
ADJECTIVES: Final = (
    "Amber", "Borrowed", "Broken", "Careful", "Crooked", "Distant", "Double", "Eleventh", "Empty", "Faithful", "Frozen",
    "Golden", "Hidden", "Hollow", '"Honest"', "Last", "Lonely", "Naïve", "Northern", "Paper", "Quiet", "Restless",
    "Second", "Silver", "Slow", "Stolen", "Unfinished", "Wandering", "Wooden", "Yesterday's",
)
NOUNS: Final = (
    "Anchor", "Bridge", "Café", "Carnival", "Compass", "Detective", "Fiancée", "Garden", "Harbour", "Island", "Journey",
    "Kingdom", "Lantern", "Letter", "Lighthouse", "Machine", "Map", "Neighbour", "Orchard", "Passenger", "Piano",
    "Promise", "Quarry", "River", "Señorita", "Station", "Summer", "Theatre", "Train", "Voyage", "Winter", "Witness",
)
# fmt: on
