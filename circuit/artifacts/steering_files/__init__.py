"""steering_files"""
