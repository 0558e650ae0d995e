"""The formula: how many groups a load needs, from how many requests come and how long a start takes."""
