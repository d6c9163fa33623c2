"""Looking at a deployment that runs: is it set up as it should be, and is everything in it consistent?"""
